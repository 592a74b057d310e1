//! Just enough HTTP to ask the pool how it is.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::POLL;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(20);

/// An answer: status code and body.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub body: String,
}

/// # Errors
/// No connection, no answer in time, or an answer that is not HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<Response> {
    timeout(REQUEST, request(address, path)).await.with_context(|| format!("GET {path} hangs"))?
}

async fn request(address: SocketAddr, path: &str) -> Result<Response> {
    let mut socket = TcpStream::connect(address).await.context("the HTTP port refuses")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer).context("the answer is not UTF-8")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no header")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status code")?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(body)? } else { body.to_owned() };
    Ok(Response { status, body })
}

fn unchunk(mut body: &str) -> Result<String> {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").context("a chunk without a length")?;
        let length = usize::from_str_radix(length.trim(), 16).context("a chunk length that is not hex")?;
        if length == 0 {
            return Ok(whole);
        }
        whole.push_str(rest.get(..length).context("a chunk that is cut off")?);
        body = rest.get(length + 2..).context("a chunk that is cut off")?;
    }
}

/// The JSON at `path`.
///
/// # Errors
/// No answer, a status other than 200, or no JSON.
pub async fn json(address: SocketAddr, path: &str) -> Result<Value> {
    let response = get(address, path).await?;
    if response.status != 200 {
        bail!("GET {path} answers {}: {}", response.status, response.body);
    }
    serde_json::from_str(&response.body)
        .with_context(|| format!("GET {path} answers no JSON: {}", response.body))
}

/// Asks until `pick` likes the JSON at `path`. Requests that fail are asked again.
///
/// # Errors
/// Nothing liked within `limit`; says what came last.
pub async fn json_until<T>(
    address: SocketAddr,
    path: &str,
    limit: Duration,
    mut pick: impl FnMut(&Value) -> Option<T>,
) -> Result<T> {
    let mut last = String::from("no answer");
    let wait = async {
        loop {
            match json(address, path).await {
                Ok(value) => match pick(&value) {
                    Some(found) => return found,
                    None => last = value.to_string(),
                },
                Err(error) => last = format!("{error:#}"),
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let waited = timeout(limit, wait).await.ok();
    waited.with_context(|| format!("GET {path} did not become what was waited for; last: {last}"))
}

/// The value of a metric, by the name and labels as they are printed; 0 where it is not there.
///
/// # Errors
/// No answer.
pub async fn metric(address: SocketAddr, series: &str) -> Result<f64> {
    let text = get(address, "/metrics").await?.body;
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(Ok(0.0), |value| value.trim().parse().with_context(|| format!("{series} is {value}")))
}

/// Waits until a metric is at least `wanted`.
///
/// # Errors
/// It is not, in good time; says what there is of that name.
pub async fn metric_reaches(address: SocketAddr, series: &str, wanted: f64) -> Result<()> {
    let wait = async {
        while metric(address, series).await.unwrap_or(0.0) < wanted {
            tokio::time::sleep(POLL).await;
        }
    };
    if timeout(crate::SOON, wait).await.is_ok() {
        return Ok(());
    }
    let text = get(address, "/metrics").await?.body;
    let name = series.split('{').next().unwrap_or(series);
    let alike: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
    bail!("{series} does not reach {wanted}; there is {alike:#?}")
}
