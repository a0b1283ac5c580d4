//! A keep-alive HTTP/1.1 client that costs next to nothing beside the server it measures.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// One connection.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    addr: SocketAddr,
}

impl Client {
    /// Connects. Errors: nobody listens.
    pub fn connect(addr: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(addr).map_err(|error| format!("connect {addr}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        Ok(Self { stream: BufReader::new(stream), addr })
    }

    /// Sends a POST and returns status and body.
    pub fn post(&mut self, path: &str, kind: &str, body: &[u8]) -> Result<(u16, String), String> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            self.addr,
            body.len()
        );
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(|error| error.to_string())?;
        self.reply()
    }

    /// Sends a GET and returns status and body.
    pub fn get(&mut self, path: &str) -> Result<(u16, String), String> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.addr);
        self.stream.get_mut().write_all(head.as_bytes()).map_err(|error| error.to_string())?;
        self.reply()
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(_) => Ok(line.trim_end().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn exact(&mut self, len: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn reply(&mut self) -> Result<(u16, String), String> {
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status line")?;
        let (mut length, mut chunked) = (0usize, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(|_| "bad content-length")?;
            }
            chunked |= line.starts_with("transfer-encoding:") && line.contains("chunked");
        }
        let mut body = Vec::new();
        if chunked {
            loop {
                let size = usize::from_str_radix(&self.line()?, 16).map_err(|_| "bad chunk size")?;
                body.extend(self.exact(size)?);
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            body = self.exact(length)?;
        }
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Runs one SQL statement and returns the first column of the first row.
    pub fn sql(&mut self, statement: &str) -> Result<serde_json::Value, String> {
        let body = self.sql_as("greptimedb_v1", statement)?;
        let reply: serde_json::Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        Ok(reply["output"][0]["records"]["rows"][0][0].clone())
    }

    /// Runs one SQL statement and returns the body in a format of `/v1/sql`.
    pub fn sql_as(&mut self, format: &str, statement: &str) -> Result<String, String> {
        let mut form = format!("format={format}&sql=");
        for byte in statement.bytes() {
            if byte.is_ascii_alphanumeric() {
                form.push(byte as char);
            } else {
                form.push_str(&format!("%{byte:02X}"));
            }
        }
        let (status, body) = self.post("/v1/sql", "application/x-www-form-urlencoded", form.as_bytes())?;
        if status != 200 {
            return Err(format!("{statement}: {status} {body}"));
        }
        Ok(body)
    }
}
