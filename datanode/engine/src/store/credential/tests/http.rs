//! An HTTP server that notes what it is asked and answers what it is told to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

type Answer = dyn Fn(&str) -> (u16, String) + Send + Sync;

/// Lives as long as the test's process.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    /// Head and body of each request, in order.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (noted, answer): (_, Arc<Answer>) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
                std::thread::spawn(move || while exchange(&stream, &noted, &*answer).is_some() {});
            }
        });
        Self { addr, requests }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }
}

/// One request and its answer; `None` when the connection is over.
fn exchange(stream: &TcpStream, noted: &Mutex<Vec<String>>, answer: &Answer) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let request = head + &String::from_utf8_lossy(&body);
    let (status, text) = answer(&request);
    noted.lock().push(request);
    let reply = format!(
        "HTTP/1.1 {status} -\r\nETag: \"1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
         X-Aws-Ec2-Metadata-Token-Ttl-Seconds: 600\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    let mut writer = stream;
    writer.write_all(reply.as_bytes()).ok()
}
