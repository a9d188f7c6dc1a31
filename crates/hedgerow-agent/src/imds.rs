//! Who this instance is, from the instance metadata service (version 2: with a session token).

use std::time::Duration;

/// What the agent needs to know to ask EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `i-…`.
    pub instance: String,
    /// `m5.xlarge`.
    pub instance_type: String,
    /// `us-west-2`.
    pub region: String,
}

/// The metadata service did not say.
#[derive(Debug, thiserror::Error)]
#[error("instance metadata: {path} from {endpoint}: {detail}")]
pub struct ImdsError {
    endpoint: String,
    path: &'static str,
    detail: String,
}

/// Asks the metadata service at `endpoint` (`http://169.254.169.254`).
pub async fn identity(endpoint: &str) -> Result<Identity, ImdsError> {
    let endpoint = endpoint.trim_end_matches('/');
    let failed = |path, detail: String| ImdsError { endpoint: endpoint.to_owned(), path, detail };
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(5))
        .no_proxy()
        .build()
        .map_err(|e| failed("/", e.to_string()))?;
    let path = "/latest/api/token";
    let request = client
        .put(format!("{endpoint}{path}"))
        .header("X-aws-ec2-metadata-token-ttl-seconds", "300");
    let token = text(request).await.map_err(|e| failed(path, e))?;
    let get = async |path: &'static str| {
        let request =
            client.get(format!("{endpoint}{path}")).header("X-aws-ec2-metadata-token", &token);
        text(request).await.map_err(|e| failed(path, e))
    };
    Ok(Identity {
        instance: get("/latest/meta-data/instance-id").await?,
        instance_type: get("/latest/meta-data/instance-type").await?,
        region: get("/latest/meta-data/placement/region").await?,
    })
}

/// A short, plain answer; anything else is no metadata service.
async fn text(request: reqwest::RequestBuilder) -> Result<String, String> {
    let response = request.send().await.map_err(|e| e.without_url().to_string())?;
    if !response.status().is_success() {
        return Err(format!("answered {}", response.status()));
    }
    let text = response.text().await.map_err(|e| e.without_url().to_string())?;
    let text = text.trim();
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the answer is not one short word".to_owned());
    }
    Ok(text.to_owned())
}
