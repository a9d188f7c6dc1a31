//! EC2's errors: a code that programs match, a message for people, an HTTP status.

use std::panic::Location;

use crate::query::de::QueryError;

/// A refused action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Ec2Error {
    /// EC2's own code ("Error codes for the Amazon EC2 API").
    pub code: &'static str,
    /// Names the operands.
    pub message: String,
    /// Where it was made.
    pub origin: Origin,
}

/// A place in the sources, for the tests that every place that refuses is reached. It does not count
/// for whether two errors are the same.
#[derive(Debug, Clone, Copy)]
pub struct Origin(&'static Location<'static>);

impl Origin {
    /// File and line.
    pub fn place(self) -> (&'static str, u32) {
        (self.0.file(), self.0.line())
    }
}

impl PartialEq for Origin {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

impl Ec2Error {
    /// An error with EC2's code and message.
    #[track_caller]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), origin: Origin(Location::caller()) }
    }

    /// `InvalidParameterValue`: a value that the parameter cannot have.
    #[track_caller]
    pub fn value(name: &str, value: impl std::fmt::Display, why: &str) -> Self {
        let message = format!("Value ({value}) for parameter {name} is invalid. {why}");
        Self::new("InvalidParameterValue", message)
    }

    /// `MissingParameter`: a required parameter is absent.
    #[track_caller]
    pub fn missing(name: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {name}"))
    }

    /// HTTP status that EC2 sends with the code.
    pub fn status(&self) -> u16 {
        match self.code {
            "DryRunOperation" => 412,
            "AccessDenied"
            | "AccessDeniedException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "UnauthorizedOperation"
            | "UnrecognizedClientException" => 403,
            "AuthFailure" => 401,
            "ResourceNotFoundException" | "DBInstanceNotFound" | "DBSubnetGroupNotFoundFault" => {
                404
            }
            "InternalError" | "InsufficientInstanceCapacity" => 500,
            "RequestLimitExceeded" | "ServiceUnavailable" | "Unavailable" => 503,
            _ => 400,
        }
    }
}

impl From<QueryError> for Ec2Error {
    fn from(error: QueryError) -> Self {
        let code = match error {
            QueryError::Unknown(_) => "UnknownParameter",
            QueryError::Missing(_) => "MissingParameter",
            QueryError::Invalid { .. } => "InvalidParameterValue",
        };
        Ec2Error::new(code, error.to_string())
    }
}
