//! Credentials of the bucket that are not simply two variables: profiles, credential processes, roles, web identities,
//! those of a container or a machine.
//!
//! They end, and fetching them takes a process or a request to another
//! service. So one task fetches them and does so again before they end:
//! requests that come together fetch once, a request that is given up stops no
//! fetch, and nobody waits while the old ones hold.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::provider::ProvideCredentials;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use object_store::{CredentialProvider, Error as StoreError};
use tokio::sync::{Notify, watch};
use varve_model::{Error, Result};
use varve_service::clock::SharedClock;
use varve_service::task::TaskSet;

mod refusal;
#[cfg(test)]
mod tests;

pub(super) use refusal::Connector;

/// How long before their end credentials are replaced; services hand out new ones at least that early.
const MARGIN: Duration = Duration::from_mins(5);
/// Time between two fetches: a bucket that refuses everything must not become a flood for who hands out credentials.
const GAP: Duration = Duration::from_secs(1);
/// Longest pause after fetches that failed.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Longest time of one fetch: a credential process may hang.
const FETCH_MAX: Duration = Duration::from_secs(30);
/// Signs requests to STS when nobody names a region; object storage falls back to the same one.
const REGION: &str = "us-east-1";

/// Credentials and until when they hold.
#[derive(Clone, Debug)]
pub struct Found {
    /// What requests are signed with.
    pub credential: Arc<AwsCredential>,
    /// Nanoseconds since the epoch; `None`: until they are refused.
    pub expires_nanos: Option<i64>,
}

/// Fetches credentials once, from wherever they are.
pub type Source = Box<dyn Fn() -> BoxFuture<'static, Result<Found>> + Send + Sync>;

#[derive(Clone)]
enum State {
    Fetching,
    Found(Found),
    Failed(String),
}

/// Credentials that are kept fresh by a task of the set they were started in. Cheap to clone.
#[derive(Clone)]
pub struct Credentials {
    state: watch::Receiver<State>,
    again: Arc<Notify>,
    clock: SharedClock,
}

impl Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Those of the environment, its profile files, the container or the machine, in the order of AWS's own tools.
    /// `None`: the environment holds the keys themselves, or says that requests are not signed; nothing is fetched then.
    pub fn find(region: &str, clock: &SharedClock, tasks: &TaskSet) -> Option<Self> {
        let settings = AmazonS3Builder::from_env();
        let is_set = |key| settings.get_config_value(&key).is_some_and(|value| !value.is_empty() && value != "false");
        let has_keys = is_set(AmazonS3ConfigKey::AccessKeyId) || is_set(AmazonS3ConfigKey::SecretAccessKey);
        if has_keys || is_set(AmazonS3ConfigKey::SkipSignature) {
            return None;
        }
        let region = (!region.is_empty()).then(|| Region::new(region.to_owned()));
        Some(Self::start(Box::new(move || fetch(region.clone()).boxed()), clock, tasks))
    }

    /// Those of a source.
    pub fn start(source: Source, clock: &SharedClock, tasks: &TaskSet) -> Self {
        let (sender, state) = watch::channel(State::Fetching);
        let again = Arc::new(Notify::new());
        let task = Refresh { source, sender, again: Arc::clone(&again), clock: Arc::clone(clock) };
        let token = tasks.token().clone();
        tasks.spawn("credentials", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = task.run() => {}
            }
        });
        Self { state, again, clock: Arc::clone(clock) }
    }

    /// The bucket refused them: they are fetched again, soon and in the background.
    pub fn refused(&self) {
        self.again.notify_one();
    }
}

fn error(text: impl Into<String>) -> StoreError {
    StoreError::Generic { store: "credentials", source: text.into().into() }
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                State::Found(found) if found.holds(&self.clock) => return Ok(Arc::clone(&found.credential)),
                // The machine slept past the refresh.
                State::Found(_) => self.again.notify_one(),
                State::Failed(text) => return Err(error(text.as_str())),
                State::Fetching => {}
            }
            state.changed().await.map_err(|_| error("the node stops"))?;
        }
    }
}

impl Found {
    fn holds(&self, clock: &SharedClock) -> bool {
        self.expires_nanos.is_none_or(|end| clock.wall_nanos() < end)
    }

    /// How long until the next fetch; `None`: as long as nobody asks.
    fn rest(&self, clock: &SharedClock) -> Option<Duration> {
        let left = self.expires_nanos?.saturating_sub(clock.wall_nanos());
        let left = Duration::from_nanos(u64::try_from(left).unwrap_or(0));
        // Short-lived ones, and the last minutes of those that a service hands out unchanged, are halved.
        Some(left.saturating_sub(MARGIN.min(left / 2)).max(GAP))
    }
}

/// The task behind [`Credentials`].
struct Refresh {
    source: Source,
    sender: watch::Sender<State>,
    again: Arc<Notify>,
    clock: SharedClock,
}

impl Refresh {
    async fn run(self) {
        let mut failures = 0;
        loop {
            let rest = match self.fetch().await {
                Ok(found) => {
                    failures = 0;
                    let rest = found.rest(&self.clock);
                    self.sender.send_replace(State::Found(found));
                    rest
                }
                Err(error) => {
                    self.failed(&error);
                    failures += 1;
                    Some(GAP.saturating_mul(1 << failures.min(10)).min(BACKOFF_MAX))
                }
            };
            // Who asked before this moment asked for what was just fetched.
            let _ = self.again.notified().now_or_never();
            self.wait(rest).await;
        }
    }

    async fn fetch(&self) -> Result<Found> {
        let limit = self.clock.sleep(FETCH_MAX);
        let found = tokio::select! {
            biased;
            found = (self.source)() => found?,
            () = limit => return Err(Error::unavailable(format!("credentials did not come within {FETCH_MAX:?}"))),
        };
        if found.holds(&self.clock) { Ok(found) } else { Err(Error::unavailable("the credentials found have expired")) }
    }

    /// Old credentials that hold stay; else requests get the error.
    fn failed(&self, error: &Error) {
        let holds = matches!(&*self.sender.borrow(), State::Found(old) if old.holds(&self.clock));
        if holds {
            tracing::warn!(%error, "the bucket's credentials could not be renewed, asking again");
        } else {
            self.sender.send_replace(State::Failed(error.to_string()));
        }
    }

    async fn wait(&self, rest: Option<Duration>) {
        let due = async {
            match rest {
                Some(rest) => self.clock.sleep(rest).await,
                None => std::future::pending().await,
            }
        };
        let fetched = self.clock.boot();
        let asked = async {
            self.again.notified().await;
            self.clock.sleep((fetched + GAP).saturating_sub(self.clock.boot())).await;
        };
        tokio::select! {
            () = due => {}
            () = asked => {}
        }
    }
}

/// Asks the SDK's chain. Everything is read anew, since keys in a profile's file change, too.
async fn fetch(region: Option<Region>) -> Result<Found> {
    // The machine's own region is not asked for: off AWS that would be seconds of silence.
    let region = RegionProviderChain::first_try(region)
        .or_else(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .or_else(REGION);
    let loader = aws_config::defaults(BehaviorVersion::latest()).region(region);
    let config = loader.load().boxed().await;
    let chain = config.credentials_provider().ok_or_else(|| Error::internal("the SDK has no credentials provider"))?;
    let found = chain.provide_credentials().await.map_err(|error| {
        Error::unavailable(format!("no credentials for the bucket: {}", causes(&error)))
            .with_hint("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, a role or a web identity give them")
    })?;
    let credential = AwsCredential {
        key_id: found.access_key_id().to_owned(),
        secret_key: found.secret_access_key().to_owned(),
        token: found.session_token().map(str::to_owned),
    };
    Ok(Found { credential: Arc::new(credential), expires_nanos: found.expiry().map(nanos) })
}

fn nanos(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// An error with all that caused it: the SDK's own texts name only the outermost.
fn causes(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
