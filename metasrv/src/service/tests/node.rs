//! A datanode without an engine: it beats, remembers its orders, and reports what the test says.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use varve_model::id::{NodeEpoch, NodeId, VolumeId};
use varve_model::{Error, Result};
use varve_proto::call::Call;
use varve_proto::metasrv::{Beat, BeatReply, MetasrvApi, Order, OrderKind, Registration, Report, Session};
use varve_service::task::{Blocking, TaskSet};

/// What becomes of an order; `None` keeps silent.
pub(super) type Behaviour = Arc<dyn Fn(&Order) -> Option<Result<(), Arc<Error>>> + Send + Sync>;

pub(super) struct Node {
    pub(super) session: Session,
    pub(super) orders: Arc<Mutex<Vec<Order>>>,
    tasks: TaskSet,
}

pub(super) fn call() -> Call {
    Call::system("test", Duration::from_secs(20))
}

pub(super) fn registration(node: u64, volume: Option<u128>) -> Registration {
    Registration {
        node: NodeId(node),
        cluster: None,
        address: format!("127.0.0.1:{node}"),
        volume: volume.map(VolumeId),
        seen_epoch: NodeEpoch(0),
    }
}

pub(super) fn obedient() -> Behaviour {
    Arc::new(|_| Some(Ok(())))
}

/// Registers and beats. Its tasks end when it is dropped.
pub(super) async fn start(api: &Arc<dyn MetasrvApi>, node: u64, volume: u128, behaviour: Behaviour) -> Node {
    let session = api.register(&call(), registration(node, Some(volume))).await.expect("register");
    let (beats, stream) = mpsc::channel(16);
    let stream = Box::pin(ReceiverStream::new(stream));
    let mut replies = api.heartbeat(&call(), session.epoch, stream).await.expect("heartbeat");
    let tasks = TaskSet::new(Blocking::Inline);
    let orders = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&orders);
    beats.send(Beat { number: 1, ..Beat::default() }).await.expect("first beat");
    tasks.spawn("node", async move {
        let mut number = 1;
        while let Some(Ok(BeatReply { orders, .. })) = replies.next().await {
            let mut reports = Vec::new();
            for order in orders {
                let outcome = behaviour(&order);
                reports.extend(outcome.map(|outcome| Report { order: order.id, outcome, found: None }));
                seen.lock().push(order);
            }
            number += 1;
            if !reports.is_empty() && beats.send(Beat { number, reports, ..Beat::default() }).await.is_err() {
                break;
            }
        }
    });
    Node { session, orders, tasks }
}

impl Node {
    pub(super) fn count(&self, wanted: impl Fn(&OrderKind) -> bool) -> usize {
        self.orders.lock().iter().filter(|order| wanted(&order.kind)).count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.kill();
    }
}
