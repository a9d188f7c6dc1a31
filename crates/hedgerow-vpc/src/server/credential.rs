//! The region of a request: the one in its signature's credential scope.

/// Where requests without a signature go.
const DEFAULT_REGION: &str = "us-west-2";

/// The region in an `Authorization` header
/// (`… Credential=AKID/20260101/us-west-2/ec2/aws4_request, …`), or us-west-2.
pub(super) fn region(authorization: Option<&str>) -> &str {
    authorization
        .and_then(|header| header.split_once("Credential="))
        .and_then(|(_, rest)| rest.split([',', ' ']).next())
        .and_then(|scope| scope.split('/').rev().nth(2))
        .filter(|region| !region.is_empty())
        .unwrap_or(DEFAULT_REGION)
}

/// The access key id in an `Authorization` header; `None` without a signature.
pub(super) fn access_key(authorization: Option<&str>) -> Option<&str> {
    let (_, rest) = authorization?.split_once("Credential=")?;
    let scope = rest.split([',', ' ']).next()?;
    // The scope is KEY/DATE/REGION/SERVICE/aws4_request.
    let (key, _) = scope.split_once('/')?;
    Some(key).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scope() {
        let signed = "AWS4-HMAC-SHA256 Credential=a/b/20260101/eu-west-1/ec2/aws4_request, \
                      SignedHeaders=host, Signature=00";
        for (header, want) in [
            (Some(signed), "eu-west-1"),
            (Some("Bearer x"), DEFAULT_REGION),
            (Some("Credential=x"), DEFAULT_REGION),
            (None, DEFAULT_REGION),
        ] {
            assert_eq!(region(header), want);
        }
        assert_eq!(access_key(Some(signed)), Some("a"));
        assert_eq!(access_key(Some("Credential=x")), None);
    }
}
