//! With the SDK's real chain: variables and files as a node finds them, and services played by a server of the test.
//!
//! Variables belong to a process, so each of these tests runs its body in a
//! process of its own that starts with just the ones it names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path as FilePath;
use std::process::Command;

use bytes::Bytes;
use object_store::path::Path;
use varve_service::clock::SystemClock;

use super::super::super::create::{Created, ReadBack, create_verified};
use super::super::super::s3::{S3Config, open_s3};
use super::http::Server;
use super::*;

const CHILD: &str = "VARVE_TEST_CHILD";

/// Runs `body` in a process with these variables of AWS and no others.
fn with_env(test: &str, env: &[(&str, String)], body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("store::credential::tests::sdk::{test}")]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    // Nothing outside the test answers: no file in a home folder, no service of the machine.
    command.env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true").env(CHILD, "1");
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn system() -> (SharedClock, TaskSet) {
    (Arc::new(SystemClock), TaskSet::new(Blocking::Threads))
}

fn find() -> Credentials {
    let (clock, tasks) = system();
    Credentials::find("", &clock, &tasks).expect("no keys in the environment")
}

fn bucket(url: &str) -> S3Config {
    S3Config { endpoint: url.to_owned(), bucket: "b".to_owned(), ..S3Config::default() }
}

fn write(folder: &FilePath, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// What STS answers to `action`: a key, and an end in the far future.
fn session(action: &str, key: &str) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>token</SessionToken>\
         <Expiration>2096-01-01T00:00:00Z</Expiration></Credentials></{action}Result></{action}Response>"
    )
}

#[test]
fn keys_of_the_environment_sign_and_nothing_is_fetched() {
    let server = Server::start(|_| (200, String::new()));
    let env = [
        ("AWS_ACCESS_KEY_ID", "env-key".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "env-secret".to_owned()),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/unused".to_owned()),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/token".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "false".to_owned()),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url()),
        ("AWS_ENDPOINT_URL_STS", server.url()),
        ("BUCKET", server.url()),
    ];
    with_env("keys_of_the_environment_sign_and_nothing_is_fetched", &env, || {
        block_on(async {
            let (clock, tasks) = system();
            let credentials = Credentials::find("", &clock, &tasks);
            assert!(credentials.is_none());
            let store = open_s3(&bucket(&std::env::var("BUCKET").unwrap()), None, true).unwrap();
            let body = Bytes::from_static(b"body");
            let created = create_verified(&*store, &clock, &Path::from("a"), &body, ReadBack::OnDoubt).await;
            assert_eq!(created.unwrap(), Created::Created);
        });
    });
    let requests = server.requests();
    if std::env::var_os(CHILD).is_none() {
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert!(requests[0].starts_with("PUT /b/a ") && requests[0].contains("Credential=env-key/"), "{requests:?}");
    }
}

#[test]
fn a_profile_gives_its_keys_and_new_ones_after_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let profile = |key| {
        format!(
            "[default]\naws_access_key_id = wrong\naws_secret_access_key = x\n[varve]\naws_access_key_id = {key}\naws_secret_access_key = s\n"
        )
    };
    let file = write(folder.path(), "credentials", &profile("first"));
    let env = [("AWS_SHARED_CREDENTIALS_FILE", file), ("AWS_PROFILE", "varve".to_owned())];
    with_env("a_profile_gives_its_keys_and_new_ones_after_a_refusal", &env, || {
        block_on(async {
            let credentials = find();
            assert_eq!(id(&credentials).await, "first");
            fs::write(std::env::var("AWS_SHARED_CREDENTIALS_FILE").unwrap(), profile("second")).unwrap();
            assert_eq!(id(&credentials).await, "first");
            credentials.refused();
            until(&credentials, "second").await;
        });
    });
}

/// Waits until another key is handed out.
async fn until(credentials: &Credentials, key: &str) {
    let (clock, _) = system();
    for _ in 0..600 {
        if id(credentials).await == key {
            return;
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
    panic!("{key} did not come in 30 s");
}

#[test]
fn a_credential_process_runs_again_before_its_credentials_end() {
    let folder = tempfile::tempdir().unwrap();
    let runs = folder.path().join("runs");
    let script = format!(
        "#!/bin/sh\necho x >> {runs}\nprintf '{{\"Version\": 1, \"AccessKeyId\": \"run-%d\", \"SecretAccessKey\": \"s\", \
         \"SessionToken\": \"t\", \"Expiration\": \"%s\"}}' $(wc -l < {runs}) $(date -u -d '+12 seconds' +%FT%TZ)\n",
        runs = runs.display()
    );
    let script = write(folder.path(), "keys.sh", &script);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let file = write(folder.path(), "config", &format!("[default]\ncredential_process = {script}\n"));
    with_env("a_credential_process_runs_again_before_its_credentials_end", &[("AWS_CONFIG_FILE", file)], || {
        block_on(async {
            let credentials = find();
            let first = credentials.get_credential().await.unwrap();
            assert_eq!((first.key_id.as_str(), first.token.as_deref()), ("run-1", Some("t")));
            // Half of their time is over after 6 s; until() never finds expired ones, which would be an error.
            until(&credentials, "run-2").await;
        });
    });
}

#[test]
fn a_credential_process_that_fails_is_named_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "config", "[default]\ncredential_process = /nonexistent/program\n");
    with_env("a_credential_process_that_fails_is_named_with_its_cause", &[("AWS_CONFIG_FILE", file)], || {
        block_on(async {
            let error = find().get_credential().await.unwrap_err().to_string();
            assert!(
                error.contains("no credentials for the bucket") && error.contains("/nonexistent/program"),
                "{error}"
            );
        });
    });
}

#[test]
fn without_any_credentials_the_error_says_so() {
    with_env("without_any_credentials_the_error_says_so", &[], || {
        block_on(async {
            let error = find().get_credential().await.unwrap_err().to_string();
            assert!(error.contains("no credentials for the bucket"), "{error}");
        });
    });
}

#[test]
fn a_web_identity_is_exchanged_at_sts() {
    let sts = Server::start(|request| {
        let is_right =
            request.contains("Action=AssumeRoleWithWebIdentity") && request.contains("WebIdentityToken=jwt-of-pod");
        if is_right { (200, session("AssumeRoleWithWebIdentity", "pod-key")) } else { (403, String::new()) }
    });
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", write(folder.path(), "token", "jwt-of-pod")),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/varve".to_owned()),
        ("AWS_ENDPOINT_URL_STS", sts.url()),
    ];
    with_env("a_web_identity_is_exchanged_at_sts", &env, || {
        block_on(async {
            let found = find().get_credential().await.unwrap();
            assert_eq!((found.key_id.as_str(), found.token.as_deref()), ("pod-key", Some("token")));
        });
    });
}

#[test]
fn a_role_is_assumed_with_the_keys_of_another_profile_and_a_role_with_that_one() {
    let sts = Server::start(|request| {
        let signed_by = |key: &str| request.contains(&format!("Credential={key}/"));
        if !request.contains("Action=AssumeRole&") {
            (400, String::new())
        } else if signed_by("base-key") && request.contains("role%2Fmiddle") {
            (200, session("AssumeRole", "middle-key"))
        } else if signed_by("middle-key") && request.contains("role%2Fvarve") {
            (200, session("AssumeRole", "role-key"))
        } else {
            (403, String::new())
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let config = "[profile base]\naws_access_key_id = base-key\naws_secret_access_key = s\n\
                  [profile middle]\nrole_arn = arn:aws:iam::123456789012:role/middle\nsource_profile = base\n\
                  [profile varve]\nrole_arn = arn:aws:iam::123456789012:role/varve\nsource_profile = middle\n";
    let env = [
        ("AWS_CONFIG_FILE", write(folder.path(), "config", config)),
        ("AWS_PROFILE", "varve".to_owned()),
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ENDPOINT_URL_STS", sts.url()),
    ];
    with_env("a_role_is_assumed_with_the_keys_of_another_profile_and_a_role_with_that_one", &env, || {
        block_on(async { assert_eq!(id(&find()).await, "role-key") });
    });
    if std::env::var_os(CHILD).is_none() {
        let requests = sts.requests();
        assert_eq!(requests.len(), 2, "{requests:?}");
        assert!(requests.iter().all(|request| request.contains("/eu-central-1/sts/")), "{requests:?}");
    }
}

/// What a container's or a machine's service answers.
fn keys_of_service(key: &str) -> (u16, String) {
    let text = format!(
        "{{\"Code\": \"Success\", \"Type\": \"AWS-HMAC\", \"LastUpdated\": \"2026-01-01T00:00:00Z\", \"AccessKeyId\": \"{key}\", \
         \"SecretAccessKey\": \"s\", \"Token\": \"token\", \"Expiration\": \"2096-01-01T00:00:00Z\"}}"
    );
    (200, text)
}

#[test]
fn a_container_is_asked_with_its_token() {
    let service = Server::start(|request| {
        let is_right = request.starts_with("GET /keys ") && request.contains("token-of-pod");
        if is_right { keys_of_service("container-key") } else { (403, String::new()) }
    });
    let folder = tempfile::tempdir().unwrap();
    let env = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", service.url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", write(folder.path(), "token", "token-of-pod")),
    ];
    with_env("a_container_is_asked_with_its_token", &env, || {
        block_on(async { assert_eq!(id(&find()).await, "container-key") });
    });
}

#[test]
fn the_machine_is_asked_last_and_with_a_session() {
    let service = Server::start(|request| {
        let is_session = request.contains("session-of-machine");
        if request.starts_with("PUT /latest/api/token ") {
            (200, "session-of-machine".to_owned())
        } else if is_session && request.starts_with("GET /latest/meta-data/iam/security-credentials/ ") {
            (200, "role".to_owned())
        } else if is_session && request.starts_with("GET /latest/meta-data/iam/security-credentials/role ") {
            keys_of_service("machine-key")
        } else {
            (404, String::new())
        }
    });
    let env = [("AWS_EC2_METADATA_DISABLED", "false".to_owned()), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url())];
    with_env("the_machine_is_asked_last_and_with_a_session", &env, || {
        block_on(async { assert_eq!(id(&find()).await, "machine-key") });
    });
}

#[test]
fn a_create_that_is_refused_is_tried_again_with_new_credentials() {
    for status in [400, 401, 403] {
        let server = Server::start(move |request| {
            // A refusal of the first key that comes late asks for a third one; the read after it may already carry a
            // new one, and finds an empty slot.
            let status = match request.split_once(' ') {
                _ if request.contains("Credential=key-1/") => status,
                Some(("GET", _)) => 404,
                _ => 200,
            };
            (status, String::new())
        });
        block_on(async {
            let (clock, tasks) = system();
            let fetches = AtomicU64::new(0);
            let source = move || {
                let number = fetches.fetch_add(1, Ordering::Relaxed) + 1;
                async move { Ok(Found { credential: Arc::new(key(&format!("key-{number}"))), expires_nanos: None }) }
                    .boxed()
            };
            let credentials = Credentials::start(Box::new(source), &clock, &tasks);
            let store = open_s3(&bucket(&server.url()), Some(&credentials), true).unwrap();
            let body = Bytes::from_static(b"body");
            let created = create_verified(&*store, &clock, &Path::from("a"), &body, ReadBack::OnDoubt).await;
            assert_eq!(created.unwrap(), Created::Created, "{status}");
            tasks.stop().await;
        });
        let puts = server.requests().iter().filter(|request| request.starts_with("PUT ")).count();
        assert!(puts >= 2, "{status}: {puts}");
    }
}
