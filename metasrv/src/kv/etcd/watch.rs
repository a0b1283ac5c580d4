//! A watch that outlives its connection.
//!
//! It begins again after the last revision it has seen. When etcd no longer
//! keeps that revision there may be a gap, and the watch ends with an error:
//! whoever watches reads anew.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Event, EventType, WatchOptions, WatchResponse, WatchStream as EtcdStream};
use varve_model::{Error, Result};

use super::link::{Connected, Failure, Link, failed};
use super::{REPLY_BYTES_MAX, end_of, relative};
use crate::kv::{Changes, Revision, WatchStream};

/// How long a watch may take to begin.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);
/// First and longest pause before a broken watch begins again.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

struct Watch {
    link: Arc<Link>,
    /// The store's, cut from keys.
    prefix: String,
    /// What the keys begin with.
    from_key: Vec<u8>,
    /// The first revision that is not yet seen.
    next: Revision,
    open: Option<(Connected, EtcdStream)>,
    ready: VecDeque<Changes>,
}

/// Opens a watch below `from_key`. Errors: `Unavailable`, also when the revision is no longer kept.
pub(super) async fn open(link: Arc<Link>, prefix: String, from_key: Vec<u8>, from: Revision) -> Result<WatchStream> {
    let mut watch = Watch { link, prefix, from_key, next: from, open: None, ready: VecDeque::new() };
    watch.begin().await?;
    let changes = futures::stream::unfold(Some(watch), |watch| async move {
        let mut watch = watch?;
        match watch.changes().await {
            Ok(changes) => Some((Ok(changes), Some(watch))),
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(Box::pin(changes))
}

/// Why a watch does not begin.
enum Broken {
    /// Revisions are missing: no retry helps.
    Gap(Error),
    /// The way to etcd broke.
    Link(Error),
}

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Gap(error) | Broken::Link(error) => error,
        }
    }
}

impl Watch {
    async fn begin(&mut self) -> Result<(), Broken> {
        let connected = self.link.connected().await.map_err(Broken::Link)?;
        let options =
            WatchOptions::new().with_range(end_of(&self.from_key)).with_start_revision(self.next.max(1) as i64);
        let mut client = connected.client.watch_client().max_decoding_message_size(REPLY_BYTES_MAX);
        let from_key = self.from_key.clone();
        let opened = Box::pin(async move {
            let mut stream = client.watch(from_key, Some(options)).await?;
            let first = stream.message().await?;
            Ok((stream, first))
        });
        let link_failed = |failure: Failure| Broken::Link(failed("watch", failure));
        let opened = self.link.within(OPEN_TIMEOUT, &connected, opened).await.map_err(link_failed)?;
        self.open = Some((connected, opened.0));
        match opened.1 {
            Some(first) => self.take(&first),
            None => Err(Broken::Link(Error::unavailable("etcd ended a watch at once"))),
        }
    }

    /// The next transaction's changes. Errors: `Unavailable` when there is a gap.
    async fn changes(&mut self) -> Result<Changes> {
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(changes) = self.ready.pop_front() {
                return Ok(changes);
            }
            let broken = match &mut self.open {
                Some((connected, stream)) => match stream.message().await {
                    Ok(Some(message)) => match self.take(&message) {
                        Ok(()) => continue,
                        Err(broken) => broken,
                    },
                    Ok(None) => Broken::Link(Error::unavailable("etcd ended a watch")),
                    Err(error) => {
                        self.link.broke(connected);
                        Broken::Link(failed("watch", Failure::Etcd(Box::new(error))))
                    }
                },
                None => match self.begin().await {
                    Ok(()) => {
                        pause = PAUSE_MIN;
                        continue;
                    }
                    Err(broken) => broken,
                },
            };
            match broken {
                Broken::Gap(error) => return Err(error),
                Broken::Link(error) => tracing::warn!(%error, "a watch on etcd broke and begins again"),
            }
            self.open = None;
            self.link.clock().sleep(pause).await;
            pause = (2 * pause).min(PAUSE_MAX);
        }
    }

    fn take(&mut self, message: &WatchResponse) -> Result<(), Broken> {
        if message.compact_revision() > 0 {
            let (wanted, kept) = (self.next, message.compact_revision());
            let text = format!("metadata revision {wanted} is no longer kept (from {kept})");
            return Err(Broken::Gap(Error::unavailable(text)));
        }
        if message.canceled() {
            let text = format!("etcd ended a watch: {}", message.cancel_reason());
            return Err(Broken::Link(Error::unavailable(text)));
        }
        // All events of one revision are in one message, one after another.
        for event in message.events() {
            let (revision, key, value) = change(event, &self.prefix).map_err(Broken::Gap)?;
            match self.ready.back_mut().filter(|last| last.revision == revision) {
                Some(last) => last.events.push((key, value)),
                None => self.ready.push_back(Changes { revision, events: vec![(key, value)] }),
            }
            self.next = revision + 1;
        }
        Ok(())
    }
}

fn change(event: &Event, prefix: &str) -> Result<(Revision, String, Option<Vec<u8>>)> {
    let entry = event.kv().ok_or_else(|| Error::unavailable("etcd sent an event without a key"))?;
    let value = (event.event_type() == EventType::Put).then(|| entry.value().to_vec());
    Ok((entry.mod_revision() as Revision, relative(prefix, entry.key())?, value))
}
