use async_trait::async_trait;
use varve_model::Error;

use super::*;
use crate::call::Call;
use crate::datanode::{DescribeRequest, Description, ScanReply, ScanTicket, WriteReply, WriteRequest};

#[derive(Debug)]
struct Absent;

#[async_trait]
impl DatanodeApi for Absent {
    async fn write(&self, _: &Call, _: WriteRequest) -> Result<WriteReply> {
        Err(Error::unavailable("absent"))
    }

    async fn scan(&self, _: &Call, _: ScanTicket) -> Result<ScanReply> {
        Err(Error::unavailable("absent"))
    }

    async fn describe(&self, _: &Call, _: DescribeRequest) -> Result<Description> {
        Err(Error::unavailable("absent"))
    }
}

#[test]
fn a_client_is_made_once_per_node_and_again_when_the_node_moved() {
    let made = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&made);
    let clients = Clients::new(Arc::new(move |node, address| {
        seen.lock().push(format!("{node}@{address}"));
        if address == "bad" { Err(Error::invalid("bad")) } else { Ok(Arc::new(Absent)) }
    }));
    for (node, address) in [(1, "a"), (2, "a"), (1, "a"), (1, "b"), (1, "b"), (1, "a")] {
        clients.client(NodeId(node), address).expect("a client");
    }
    clients.client(NodeId(2), "bad").expect_err("no client");
    // A failure leaves the client that was there.
    clients.client(NodeId(2), "a").expect("a client");
    assert_eq!(*made.lock(), ["1@a", "2@a", "1@b", "1@a", "2@bad"]);
    assert_eq!(format!("{clients:?}"), "Clients { open: [NodeId(1), NodeId(2)], .. }");
}
