//! What surrounds an answer or an error: the formats of EC2, of STS and RDS, and of EKS.

use std::fmt::Write;

use serde::Serialize;

use super::error::Ec2Error;
use crate::query::xml::{self, escape};

/// The APIs that one endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Amazon EC2.
    Ec2,
    /// AWS STS.
    Sts,
    /// Amazon EKS: JSON, and paths that the server turns into actions.
    Eks,
    /// Amazon RDS.
    Rds,
}

impl Api {
    /// The API's version, as in the parameter `Version`.
    pub const fn version(self) -> &'static str {
        match self {
            Api::Ec2 => "2016-11-15",
            Api::Sts => "2011-06-15",
            Api::Eks => "2017-11-01",
            Api::Rds => "2014-10-31",
        }
    }

    /// The API that a parameter `Version` names; EC2 for other texts and for none.
    pub fn of_version(version: Option<&str>) -> Api {
        let others = [Api::Sts, Api::Eks, Api::Rds];
        others.into_iter().find(|api| Some(api.version()) == version).unwrap_or(Api::Ec2)
    }

    /// Whether an action of this API may be asked for in a request of the `other`: EC2 and STS
    /// share their clients' format, the others' clients would not understand the answer.
    pub(super) fn is_asked_as(self, other: Api) -> bool {
        let mixes = |api| matches!(api, Api::Ec2 | Api::Sts);
        self == other || (mixes(self) && mixes(other))
    }

    /// An answer's fields as text.
    pub(super) fn fields<T: Serialize>(self, answer: &T) -> Result<String, Ec2Error> {
        let internal = |error: String| Ec2Error::new("InternalError", error);
        match self {
            Api::Eks => serde_json::to_string(answer).map_err(|error| internal(error.to_string())),
            _ => xml::to_string(answer).map_err(|error| internal(error.to_string())),
        }
    }

    /// A whole answer around the answer's fields.
    pub fn answer(self, action: &str, fields: &str, request: &str) -> String {
        let version = self.version();
        // The fields may be half a megabyte: room for all is taken once.
        let mut text = String::with_capacity(fields.len() + AROUND);
        let written = match self {
            Api::Ec2 => write!(
                text,
                "{XML}<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/{version}/\">\
                 <requestId>{request}</requestId>{fields}</{action}Response>"
            ),
            Api::Eks => text.write_str(fields),
            Api::Sts | Api::Rds => write!(
                text,
                "{XML}<{action}Response xmlns=\"{}/doc/{version}/\">\
                 <{action}Result>{fields}</{action}Result><ResponseMetadata>\
                 <RequestId>{request}</RequestId></ResponseMetadata></{action}Response>",
                self.namespace()
            ),
        };
        written.expect("a string takes everything");
        text
    }

    /// A whole answer that says the request was refused.
    pub fn error(self, error: &Ec2Error, request: &str) -> String {
        let (code, mut message) = (error.code, String::new());
        escape(&error.message, &mut message);
        match self {
            Api::Ec2 => format!(
                "{XML}<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message>\
                 </Error></Errors><RequestID>{request}</RequestID></Response>"
            ),
            Api::Eks => serde_json::json!({ "__type": code, "message": error.message }).to_string(),
            Api::Sts | Api::Rds => format!(
                "{XML}<ErrorResponse xmlns=\"{}/doc/{}/\"><Error>\
                 <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>{request}</RequestId></ErrorResponse>",
                self.namespace(),
                self.version()
            ),
        }
    }

    /// Where the documents of the API are, of which its XML namespace is made.
    const fn namespace(self) -> &'static str {
        match self {
            Api::Ec2 => "http://ec2.amazonaws.com",
            Api::Sts => "https://sts.amazonaws.com",
            Api::Eks => "https://eks.amazonaws.com",
            Api::Rds => "http://rds.amazonaws.com",
        }
    }
}

/// Bytes around the fields of an answer, at most, with names as long as they get.
const AROUND: usize = 512;
const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
