//! What surrounds an answer or an error: EC2's and STS's formats.

use super::error::Ec2Error;
use crate::query::xml::escape;

/// The APIs that one endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// Amazon EC2.
    Ec2,
    /// AWS STS.
    Sts,
}

impl Api {
    /// The API's version, as in the parameter `Version`.
    pub const fn version(self) -> &'static str {
        match self {
            Api::Ec2 => "2016-11-15",
            Api::Sts => "2011-06-15",
        }
    }

    /// A whole answer around the answer's fields.
    pub fn answer(self, action: &str, fields: &str, request: &str) -> String {
        let version = self.version();
        match self {
            Api::Ec2 => format!(
                "{XML}<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/{version}/\">\
                 <requestId>{request}</requestId>{fields}</{action}Response>"
            ),
            Api::Sts => format!(
                "{XML}<{action}Response xmlns=\"https://sts.amazonaws.com/doc/{version}/\">\
                 <{action}Result>{fields}</{action}Result><ResponseMetadata>\
                 <RequestId>{request}</RequestId></ResponseMetadata></{action}Response>"
            ),
        }
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
            Api::Sts => format!(
                "{XML}<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/{}/\"><Error>\
                 <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>{request}</RequestId></ErrorResponse>",
                self.version()
            ),
        }
    }
}

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
