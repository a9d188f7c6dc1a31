//! EC2's refusals, in EC2's own words.

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// EC2 refused. The text is the one that the AWS CLI and boto3 print, which users search for.
    #[error("An error occurred ({code}) when calling the {operation} operation: {message}")]
    Refused {
        /// `CreateNetworkInterface`.
        operation: &'static str,
        /// `InvalidSecurityGroupID.NotFound`.
        code: String,
        /// EC2's sentence.
        message: String,
    },
    /// No usable answer came.
    #[error(
        "{operation}: no answer from EC2 ({detail}); check AWS_ENDPOINT_URL, the region and the credentials"
    )]
    Unreachable {
        /// `CreateNetworkInterface`.
        operation: &'static str,
        /// What the SDK saw.
        detail: String,
    },
    /// The answer lacks what it must have.
    #[error("{operation}: EC2's answer has no usable {field}")]
    Incomplete {
        /// `CreateNetworkInterface`.
        operation: &'static str,
        /// The missing or unreadable field.
        field: &'static str,
    },
}

impl CloudError {
    /// EC2's error code, where EC2 answered with one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether the thing named does not exist (any `Invalid….NotFound`).
    pub fn is_not_found(&self) -> bool {
        self.code().is_some_and(|c| c.ends_with(".NotFound"))
    }

    /// Whether EC2 says that the caller lacks the right.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self.code(), Some("UnauthorizedOperation" | "AuthFailure" | "AccessDenied"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_the_documented_event_does() {
        let error = CloudError::Refused {
            operation: "CreateNetworkInterface",
            code: "InvalidSecurityGroupID.NotFound".into(),
            message: "The securityGroup ID 'sg-0' does not exist".into(),
        };
        assert_eq!(
            error.to_string(),
            "An error occurred (InvalidSecurityGroupID.NotFound) when calling the \
             CreateNetworkInterface operation: The securityGroup ID 'sg-0' does not exist"
        );
        assert!(error.is_not_found() && !error.is_unauthorized());
    }
}
