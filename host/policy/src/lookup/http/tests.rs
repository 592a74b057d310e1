use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service as _;

use super::super::config::Header;
use super::*;

/// What a test waits for at most; far more than anything here takes.
const SOON: Duration = Duration::from_secs(20);

/// A service that answers each connection's requests with `says`, bytes as they are, in order; then keeps the connection
/// open without a word.
struct Service {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heard: tokio::sync::mpsc::UnboundedReceiver<String>,
}

async fn service(says: &[&[u8]]) -> Service {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
    let says: Vec<Vec<u8>> = says.iter().map(|bytes| bytes.to_vec()).collect();
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counted.fetch_add(1, Relaxed);
            tokio::spawn(serve(stream, says.clone(), tell.clone()));
        }
    });
    Service { address, connections, heard }
}

async fn serve(
    mut stream: TcpStream,
    says: Vec<Vec<u8>>,
    tell: tokio::sync::mpsc::UnboundedSender<String>,
) -> io::Result<()> {
    for answer in says {
        let mut request = Vec::new();
        while !is_whole(&request) {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await?;
            if read == 0 {
                return Ok(());
            }
            request.extend_from_slice(&piece[..read]);
        }
        let _ = tell.send(String::from_utf8_lossy(&request).into_owned());
        stream.write_all(&answer).await?;
        stream.flush().await?;
    }
    // Silent until the other side has had enough.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(|_| ())
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

impl Service {
    fn url(&self, target: &str) -> Url {
        Url::parse(&format!("http://{}{target}", self.address)).unwrap()
    }

    async fn heard(&mut self) -> String {
        tokio::time::timeout(SOON, self.heard.recv()).await.unwrap().unwrap()
    }
}

fn get(url: Url) -> Outgoing {
    Outgoing {
        method: Method::Get,
        url,
        headers: Arc::from([]),
        content_type: String::new(),
        body: Arc::from([]),
        timeout: SOON,
        answer_bytes: 1000,
    }
}

fn http() -> Http {
    Http::new(Trust::Nobody).unwrap()
}

#[tokio::test]
async fn an_answer_comes_with_its_status_and_its_body() {
    let mut service = service(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"]).await;
    let headers = Arc::from([Header::new("Authorization", "Bearer key").unwrap()]);
    let reply = http().send(Outgoing { headers, ..get(service.url("/v1/alice?x=%2F..")) }).await.unwrap();
    assert_eq!(reply, Reply { status: 200, body: b"hello".to_vec() });
    let heard = service.heard().await;
    assert!(heard.starts_with("GET /v1/alice?x=%2F.. HTTP/1.1\r\n"), "{heard}");
    let host = format!("host: {}\r\n", service.address);
    let agent = format!("user-agent: sluice/{}\r\n", env!("CARGO_PKG_VERSION"));
    for line in [host.as_str(), agent.as_str(), "authorization: Bearer key\r\n"] {
        assert!(heard.contains(line), "no {line:?} in {heard}");
    }
    assert!(!heard.contains("cookie") && !heard.contains("accept-encoding"), "{heard}");
}

#[tokio::test]
async fn a_body_is_posted_with_its_type_and_its_length() {
    let mut service = service(&[b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n"]).await;
    let request = Outgoing {
        method: Method::Post,
        body: Arc::from(&b"{\"password\":\"x\"}"[..]),
        content_type: "application/json".to_owned(),
        headers: Arc::from([Header::new("user-agent", "mine/1").unwrap()]),
        ..get(service.url("/login"))
    };
    assert_eq!(http().send(request).await, Ok(Reply { status: 401, body: Vec::new() }));
    let heard = service.heard().await;
    assert!(
        heard.starts_with("POST /login HTTP/1.1\r\n") && heard.ends_with("{\"password\":\"x\"}"),
        "{heard}"
    );
    for line in ["content-type: application/json\r\n", "content-length: 16\r\n", "user-agent: mine/1\r\n"] {
        assert!(heard.contains(line), "no {line:?} in {heard}");
    }
}

#[tokio::test]
async fn redirects_and_cookies_are_not_followed() {
    let answer =
        b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n";
    let mut service = service(&[answer, answer]).await;
    let http = http();
    for _ in 0..2 {
        assert_eq!(http.send(get(service.url("/here"))).await.unwrap().status, 302);
        let heard = service.heard().await;
        assert!(heard.starts_with("GET /here ") && !heard.contains("cookie"), "{heard}");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let service = service(&[chunked, chunked, chunked]).await;
    let http = http();
    for _ in 0..3 {
        assert_eq!(http.send(get(service.url("/"))).await.unwrap().body, b"abc");
    }
    assert_eq!(service.connections.load(Relaxed), 1);
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".iter().copied().chain([b'x'; 1000]);
    let whole: Vec<u8> = whole.collect();
    let fits = service(&[&whole]).await;
    assert_eq!(http().send(get(fits.url("/"))).await.unwrap().body.len(), 1000);

    // Announced: the rest never comes, and is not waited for.
    let announced = service(&[b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\nxx"]).await;
    // Not announced: a stream without an end.
    let mut stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    stream
        .extend(b"ff\r\n".iter().copied().chain([b'x'; 255]).chain(*b"\r\n").collect::<Vec<u8>>().repeat(5));
    let endless = service(&[&stream]).await;
    for url in [announced.url("/"), endless.url("/")] {
        assert_eq!(http().send(get(url)).await, Err(TransportError::TooLarge { limit: 1000 }));
    }
}

#[tokio::test]
async fn a_large_head_is_no_answer() {
    let mut head = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    head.extend([b'x'; 2 * HEAD_LIMIT]);
    let long = service(&[&head]).await;
    let many =
        service(&[format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(2 * HEADERS_LIMIT)).as_bytes()])
            .await;
    for url in [long.url("/"), many.url("/")] {
        let answer = http().send(get(url)).await;
        assert!(matches!(answer, Err(TransportError::Protocol(_))), "{answer:?}");
    }
}

#[tokio::test]
async fn the_timeout_is_for_the_whole_answer() {
    let silent = service(&[b""]).await;
    let half = service(&[b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"]).await;
    for url in [silent.url("/"), half.url("/")] {
        let began = Instant::now();
        let answer = http().send(Outgoing { timeout: Duration::from_millis(100), ..get(url) }).await;
        assert_eq!(answer, Err(TransportError::Timeout));
        assert!(began.elapsed() >= Duration::from_millis(100) && began.elapsed() < SOON);
    }
}

#[tokio::test]
async fn what_is_no_http_is_said() {
    for nonsense in
        [&b"SSH-2.0-x\r\n"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n"]
    {
        let service = service(&[nonsense]).await;
        let answer = http().send(get(service.url("/"))).await;
        assert!(matches!(answer, Err(TransportError::Protocol(_))), "{nonsense:?}: {answer:?}");
    }
    let upgrade = service(&[b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]).await;
    let answer = http().send(get(upgrade.url("/"))).await;
    assert!(matches!(answer, Err(TransportError::Protocol(_))), "{answer:?}");
}

#[tokio::test]
async fn nobody_there_is_no_connection() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answer = http().send(get(Url::parse(&format!("http://{gone}/")).unwrap())).await;
    let Err(TransportError::Connect(why)) = &answer else { panic!("{answer:?}") };
    assert!(why.contains("refused"), "{why}");
    // A name that no resolver knows (RFC 6761).
    let answer = http().send(get(Url::parse("http://nobody.invalid/").unwrap())).await;
    let Err(TransportError::Connect(why)) = &answer else { panic!("{answer:?}") };
    assert!(why.contains("the name cannot be resolved"), "{why}");
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await
    });
    let answer = http().send(get(Url::parse(&format!("https://{address}/")).unwrap())).await;
    assert!(matches!(answer, Err(TransportError::Connect(_))), "{answer:?}");
    plain.await.unwrap().unwrap();
}

/// A connection that never comes about.
#[derive(Clone)]
struct Never;

impl tower_service::Service<Uri> for Never {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Pending<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        std::future::pending()
    }
}

#[tokio::test]
async fn a_connection_that_never_comes_about_is_given_up() {
    let mut prompt = Prompt { connector: Never, limit: Duration::from_millis(20) };
    let connected = tokio::time::timeout(SOON, prompt.call(Uri::from_static("https://a.example/"))).await;
    let error = connected.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "not ready within 20ms");
}

#[test]
fn a_url_goes_out_as_it_was_granted() {
    for text in [
        "http://127.0.0.1:8080/a/b?c=d",
        "https://accounts.example/v1/!$&'()*+,;=:@-._~%7B?[]/?",
        "https://[2001:db8::1]:8443/",
        "http://under_score.example/",
        "https://a.example/?",
    ] {
        let url = Url::parse(text).unwrap();
        let written = uri(&url).unwrap_or_else(|why| panic!("{text}: {why}"));
        assert_eq!(written.to_string(), url.to_string());
    }
}

#[test]
fn files_of_authorities_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    let trust = || Http::new(Trust::MachineAnd(&file)).map(|_| ());
    assert!(matches!(trust(), Err(HttpError::Authorities { .. })));
    for text in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&file, text).unwrap();
        let error = trust().unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("PEM"), "{error}");
    }
}
