//! Something on a port that is not the Bitcoin node it should be.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::pool::NodeAccess;

/// What it does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers bytes that are no HTTP.
    Garbage,
    /// Answers 200 with a page.
    Page,
    /// Takes the request and never answers.
    Hang,
    /// Says 401.
    Forbidden,
    /// Says that it is loading its block index (-28).
    WarmingUp,
    /// Says that it is in initial sync (-10).
    Syncing,
    /// Answers every call with a result of the wrong shape.
    WrongShape,
}

/// A server on loopback. Ends when dropped.
pub struct FakeNode {
    address: SocketAddr,
    requests: watch::Receiver<u64>,
    server: JoinHandle<()>,
}

impl FakeNode {
    /// # Errors
    /// No port is free.
    pub async fn start(behaviour: Behaviour) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (counter, requests) = watch::channel(0);
        let server = tokio::spawn(serve(listener, behaviour, Arc::new(counter)));
        Ok(Self { address, requests, server })
    }

    pub fn access(&self) -> NodeAccess {
        NodeAccess { address: self.address, cookie: None }
    }

    /// Waits for the first request.
    ///
    /// # Errors
    /// None comes in good time.
    pub async fn asked(&mut self) -> Result<()> {
        tokio::time::timeout(crate::SOON, self.requests.wait_for(|count| *count > 0)).await??;
        Ok(())
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: TcpListener, behaviour: Behaviour, counter: Arc<watch::Sender<u64>>) {
    while let Ok((socket, _)) = listener.accept().await {
        let counter = Arc::clone(&counter);
        // A client that goes away is no error here.
        tokio::spawn(async move { answer_all(socket, behaviour, &counter).await.unwrap_or_default() });
    }
}

async fn answer_all(socket: TcpStream, behaviour: Behaviour, counter: &watch::Sender<u64>) -> Result<()> {
    let mut socket = BufReader::new(socket);
    while let Some(body) = request(&mut socket).await? {
        counter.send_modify(|count| *count += 1);
        let Some(answer) = behaviour.answer(&body) else {
            // Until the client gives up.
            socket.read_u8().await?;
            continue;
        };
        socket.write_all(&answer).await?;
    }
    Ok(())
}

/// The body of the next request; `None` at the end.
async fn request(socket: &mut BufReader<TcpStream>) -> Result<Option<Vec<u8>>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await?;
    Ok(Some(body))
}

impl Behaviour {
    /// `None`: silence.
    fn answer(self, body: &[u8]) -> Option<Vec<u8>> {
        let error = |code: i32, message: &str| {
            http(
                "500 Internal Server Error",
                &reply(body, &Value::Null, &json!({"code": code, "message": message})),
            )
        };
        match self {
            Self::Garbage => Some(b"\x16\x03\x01\0\xff{{{]\r\n\r\n".repeat(64)),
            Self::Page => Some(http("200 OK", "<html>It works!</html>")),
            Self::Hang => None,
            Self::Forbidden => Some(http("401 Unauthorized", "")),
            Self::WarmingUp => Some(error(-28, "Loading block index...")),
            Self::Syncing => Some(error(-10, "Bitcoin Core is in initial sync and waiting for blocks...")),
            Self::WrongShape => Some(http("200 OK", &reply(body, &json!([1, "x", null]), &Value::Null))),
        }
    }
}

fn reply(request: &[u8], result: &Value, error: &Value) -> String {
    let request: Value = serde_json::from_slice(request).unwrap_or_default();
    json!({"result": result, "error": error, "id": request["id"]}).to_string()
}

fn http(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into()
}
