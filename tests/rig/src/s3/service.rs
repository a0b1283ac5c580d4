//! The operations that varve uses, over HTTP.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::objects::{Condition, Meta, Objects};
use super::rule::{Fault, Operation, Request, Rules};
use super::{ACCESS_KEY, BUCKET, OTHER_ACCESS_KEY, SECRET_KEY};

/// Keys of one page of a listing.
const PAGE_KEYS: usize = 1000;

/// Requests by operation, refused ones included.
pub type Counts = BTreeMap<Operation, u64>;

type Parts = HashMap<String, BTreeMap<i32, Bytes>>;

/// A running server; it ends on drop.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    objects: Arc<Objects>,
    rules: Rules,
    counts: Mutex<Counts>,
    parts: Mutex<Parts>,
}

impl Server {
    /// Listens and serves. Errors: the address is taken.
    #[allow(clippy::disallowed_methods, reason = "a real server outside varve's seams")]
    pub async fn start(addr: SocketAddr, objects: Objects) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            objects: Arc::new(objects),
            rules: Rules::default(),
            counts: Mutex::default(),
            parts: Mutex::default(),
        });
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let mut service = S3ServiceBuilder::new(Handler(Arc::clone(&shared)));
        let mut auth = SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY);
        auth.register(OTHER_ACCESS_KEY.to_owned(), SECRET_KEY.into());
        service.set_auth(auth);
        let accept = tokio::spawn(accept(listener, service.build()));
        Ok(Self { addr, shared, accept })
    }

    /// The URL that clients take as endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What goes wrong.
    pub fn rules(&self) -> &Rules {
        &self.shared.rules
    }

    /// The objects, past every rule.
    pub fn objects(&self) -> &Objects {
        &self.shared.objects
    }

    /// Requests since the start.
    pub fn counts(&self) -> Counts {
        self.shared.counts.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

#[allow(clippy::disallowed_methods, reason = "a real server outside varve's seams")]
async fn accept(listener: TcpListener, service: S3Service) {
    // Dropped with this task, which ends the connections, too.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let service = service.clone();
        connections.spawn(async move {
            // A client that goes away is its own business.
            let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

struct Handler(Arc<Shared>);

fn refuse(code: S3ErrorCode) -> S3Error {
    S3Error::new(code)
}

#[allow(clippy::disallowed_methods, reason = "a real server outside varve's seams")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Runs the effect where it may block, and to its end even when the client goes away.
#[allow(clippy::disallowed_methods, reason = "a real server outside varve's seams")]
async fn effect<T: Send + 'static>(work: impl FnOnce() -> S3Result<T> + Send + 'static) -> S3Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(S3Error::internal_error)?
}

impl Handler {
    /// Counts the request and runs its effect as the rules say. `work` is told whether to heed conditions.
    #[allow(clippy::disallowed_methods, reason = "a real server outside varve's seams")]
    async fn run<T: Send + 'static>(
        &self,
        request: Request<'_>,
        work: impl FnOnce(Option<Fault>) -> S3Result<T> + Send + 'static,
    ) -> S3Result<T> {
        *self.0.counts.lock().entry(request.operation).or_default() += 1;
        let fault = self.0.rules.fault(&request);
        match fault {
            Some(Fault::SlowDown) => Err(refuse(S3ErrorCode::SlowDown)),
            Some(Fault::ErrorBefore) => Err(refuse(S3ErrorCode::InternalError)),
            Some(Fault::Conflict) => Err(refuse(S3ErrorCode::ConditionalRequestConflict)),
            Some(Fault::Forbidden) => Err(refuse(S3ErrorCode::AccessDenied)),
            Some(Fault::NotImplemented) => Err(refuse(S3ErrorCode::NotImplemented)),
            Some(Fault::ErrorAfter) => {
                effect(|| work(None)).await?;
                Err(refuse(S3ErrorCode::InternalError))
            }
            Some(Fault::LostReply(time)) => {
                effect(|| work(None)).await?;
                pause(time).await;
                Err(refuse(S3ErrorCode::InternalError))
            }
            Some(Fault::LateEffect(time)) => {
                let late = tokio::spawn(async move {
                    pause(time).await;
                    effect(|| work(None)).await
                });
                late.await.map_err(S3Error::internal_error)??;
                Err(refuse(S3ErrorCode::InternalError))
            }
            Some(Fault::Stall(time)) => {
                pause(time).await;
                effect(|| work(None)).await
            }
            // These change what is stored or answered.
            None
            | Some(
                Fault::Truncate
                | Fault::FlipBit
                | Fault::Trickle(_)
                | Fault::WrongRange
                | Fault::IgnoreConditions
                | Fault::StaleList,
            ) => effect(|| work(fault)).await,
        }
    }

    async fn put(&self, signer: Signer, key: String, body: Bytes, condition: Condition) -> S3Result<Meta> {
        let objects = Arc::clone(&self.0.objects);
        let name = key.clone();
        self.run(signer.asks(Operation::Put, &name), move |fault| {
            let condition = if fault == Some(Fault::IgnoreConditions) { Condition::None } else { condition };
            let put = objects.put(&key, body, &condition).map_err(S3Error::internal_error)?;
            put.ok_or_else(|| refuse(S3ErrorCode::PreconditionFailed))
        })
        .await
    }
}

/// The access key that a request was signed with.
struct Signer(Option<String>);

impl Signer {
    fn of<T>(request: &S3Request<T>) -> Self {
        Self(request.credentials.as_ref().map(|credentials| credentials.access_key.clone()))
    }

    fn asks<'a>(&'a self, operation: Operation, key: &'a str) -> Request<'a> {
        Request { operation, key, signed_with: self.0.as_deref() }
    }
}

fn condition(if_none_match: Option<ETagCondition>, if_match: Option<ETagCondition>) -> S3Result<Condition> {
    match (if_none_match, if_match) {
        (None, None) => Ok(Condition::None),
        (Some(ETagCondition::Any), None) => Ok(Condition::Absent),
        (None, Some(ETagCondition::ETag(etag))) => Ok(Condition::Matches(etag.value().to_owned())),
        _ => Err(refuse(S3ErrorCode::NotImplemented)),
    }
}

fn check_bucket(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(refuse(S3ErrorCode::NoSuchBucket)) }
}

async fn whole(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let Some(mut stream) = body else { return Ok(Bytes::new()) };
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(|_| refuse(S3ErrorCode::IncompleteBody))?);
    }
    Ok(bytes.freeze())
}

/// A body that may end before its announced length, or take its time.
fn body(bytes: Bytes, fault: Option<&Fault>) -> StreamingBlob {
    let chunks: Vec<io::Result<Bytes>> = match fault {
        Some(Fault::Truncate) => {
            vec![Ok(bytes.slice(..bytes.len() / 2)), Err(io::Error::other("cut off by a rule"))]
        }
        Some(Fault::FlipBit) if !bytes.is_empty() => {
            let mut bytes = BytesMut::from(&bytes[..]);
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            vec![Ok(bytes.freeze())]
        }
        Some(Fault::Trickle(each_second)) => return trickle(bytes, (*each_second).max(1)),
        _ => vec![Ok(bytes)],
    };
    StreamingBlob::wrap(futures::stream::iter(chunks))
}

/// Ten pieces a second.
fn trickle(bytes: Bytes, each_second: usize) -> StreamingBlob {
    let pieces = futures::stream::unfold(bytes, move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        pause(Duration::from_millis(100)).await;
        let piece = rest.split_to(each_second.div_ceil(10).min(rest.len()));
        Some((Ok::<_, io::Error>(piece), rest))
    });
    StreamingBlob::wrap(Box::pin(pieces))
}

#[async_trait::async_trait]
impl S3 for Handler {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let signer = Signer::of(&req);
        let input = req.input;
        check_bucket(&input.bucket)?;
        let condition = condition(input.if_none_match, input.if_match)?;
        let body = whole(input.body).await?;
        let meta = self.put(signer, input.key, body, condition).await?;
        Ok(S3Response::new(PutObjectOutput { e_tag: Some(ETag::Strong(meta.etag)), ..Default::default() }))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let signer = Signer::of(&req);
        let GetObjectInput { bucket, key, range, .. } = req.input;
        check_bucket(&bucket)?;
        let (objects, name) = (Arc::clone(&self.0.objects), key.clone());
        let (found, fault) = self
            .run(signer.asks(Operation::Get, &name), move |fault| {
                Ok((objects.get(&key).map_err(S3Error::internal_error)?, fault))
            })
            .await?;
        let (bytes, meta) = found.ok_or_else(|| refuse(S3ErrorCode::NoSuchKey))?;
        let mut output = GetObjectOutput {
            e_tag: Some(ETag::Strong(meta.etag)),
            last_modified: Some(meta.modified.into()),
            accept_ranges: Some("bytes".to_owned()),
            ..Default::default()
        };
        let part = match range {
            None => bytes,
            Some(range) => {
                let part = range.check(meta.bytes).map_err(|_| refuse(S3ErrorCode::InvalidRange))?;
                let wrong = u64::from(fault == Some(Fault::WrongRange));
                output.content_range =
                    Some(format!("bytes {}-{}/{}", part.start + wrong, part.end - 1 + wrong, meta.bytes + wrong));
                bytes.slice(part.start as usize..part.end as usize)
            }
        };
        output.content_length = Some(part.len() as i64);
        output.body = Some(body(part, fault.as_ref()));
        Ok(S3Response::new(output))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let signer = Signer::of(&req);
        let HeadObjectInput { bucket, key, .. } = req.input;
        check_bucket(&bucket)?;
        let (objects, name) = (Arc::clone(&self.0.objects), key.clone());
        let meta = self
            .run(signer.asks(Operation::Head, &name), move |_| {
                objects.head(&key).ok_or_else(|| refuse(S3ErrorCode::NoSuchKey))
            })
            .await?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(meta.bytes as i64),
            e_tag: Some(ETag::Strong(meta.etag)),
            last_modified: Some(meta.modified.into()),
            ..Default::default()
        }))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        check_bucket(&req.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn list_objects_v2(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let signer = Signer::of(&req);
        let input = req.input;
        check_bucket(&input.bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let after = input.continuation_token.clone().or_else(|| input.start_after.clone());
        let limit = input.max_keys.map_or(PAGE_KEYS, |keys| (keys.max(0) as usize).min(PAGE_KEYS));
        let (objects, name) = (Arc::clone(&self.0.objects), prefix.clone());
        let delimiter = input.delimiter.clone().filter(|delimiter| !delimiter.is_empty());
        let page = self
            .run(signer.asks(Operation::List, &name), move |fault| {
                let mut listed = objects.list(&prefix, after.as_deref());
                if fault == Some(Fault::StaleList) {
                    let newest = listed.iter().map(|(_, meta)| meta.modified).max();
                    listed.retain(|(_, meta)| Some(meta.modified) != newest);
                }
                Ok(Page::of(listed, &prefix, delimiter.as_deref(), limit))
            })
            .await?;
        let contents = page.objects.into_iter().map(|(key, meta)| Object {
            key: Some(key),
            size: Some(meta.bytes as i64),
            e_tag: Some(ETag::Strong(meta.etag)),
            last_modified: Some(meta.modified.into()),
            ..Default::default()
        });
        let prefixes = page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) });
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            delimiter: input.delimiter,
            max_keys: Some(limit as i32),
            key_count: Some(page.count as i32),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next,
            contents: Some(contents.collect()),
            common_prefixes: Some(prefixes.collect()),
            ..Default::default()
        }))
    }

    async fn delete_object(&self, req: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let signer = Signer::of(&req);
        let DeleteObjectInput { bucket, key, .. } = req.input;
        check_bucket(&bucket)?;
        let (objects, name) = (Arc::clone(&self.0.objects), key.clone());
        let request = signer.asks(Operation::Delete, &name);
        self.run(request, move |_| objects.delete(&key).map_err(S3Error::internal_error)).await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(&self, req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let signer = Signer::of(&req);
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        check_bucket(&bucket)?;
        let objects = Arc::clone(&self.0.objects);
        let deleted = self
            .run(signer.asks(Operation::BulkDelete, ""), move |_| {
                let mut deleted = Vec::new();
                for object in delete.objects {
                    objects.delete(&object.key).map_err(S3Error::internal_error)?;
                    deleted.push(DeletedObject { key: Some(object.key), ..Default::default() });
                }
                Ok(deleted)
            })
            .await?;
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let CreateMultipartUploadInput { bucket, key, .. } = req.input;
        check_bucket(&bucket)?;
        let mut parts = self.0.parts.lock();
        let upload = format!("upload-{}", parts.len());
        parts.insert(upload.clone(), BTreeMap::new());
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(upload),
            ..Default::default()
        }))
    }

    async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let UploadPartInput { upload_id, part_number, body, .. } = req.input;
        let bytes = whole(body).await?;
        let etag = format!("part-{part_number}-{}", bytes.len());
        let mut parts = self.0.parts.lock();
        let upload = parts.get_mut(&upload_id).ok_or_else(|| refuse(S3ErrorCode::NoSuchUpload))?;
        upload.insert(part_number, bytes);
        Ok(S3Response::new(UploadPartOutput { e_tag: Some(ETag::Strong(etag)), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let signer = Signer::of(&req);
        let input = req.input;
        let condition = condition(input.if_none_match, input.if_match)?;
        let parts = self.0.parts.lock().get(&input.upload_id).cloned();
        let parts = parts.ok_or_else(|| refuse(S3ErrorCode::NoSuchUpload))?;
        let mut bytes = BytesMut::new();
        for part in input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default() {
            let number = part.part_number.ok_or_else(|| refuse(S3ErrorCode::InvalidPart))?;
            bytes.extend_from_slice(parts.get(&number).ok_or_else(|| refuse(S3ErrorCode::InvalidPart))?);
        }
        let meta = self.put(signer, input.key.clone(), bytes.freeze(), condition).await?;
        self.0.parts.lock().insert(input.upload_id, BTreeMap::new());
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(meta.etag)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.0.parts.lock().insert(req.input.upload_id, BTreeMap::new());
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}

/// One page of a listing.
#[derive(Debug, Default)]
struct Page {
    objects: Vec<(String, Meta)>,
    prefixes: Vec<String>,
    count: usize,
    /// The last key looked at, when more follow.
    next: Option<String>,
}

impl Page {
    fn of(listed: Vec<(String, Meta)>, prefix: &str, delimiter: Option<&str>, limit: usize) -> Self {
        let mut page = Self::default();
        let mut last = None;
        for (key, meta) in listed {
            let folder = delimiter.and_then(|delimiter| {
                let end = key[prefix.len()..].find(delimiter)? + prefix.len() + delimiter.len();
                Some(key[..end].to_owned())
            });
            let is_known = folder.is_some() && page.prefixes.last() == folder.as_ref();
            if !is_known && page.count == limit {
                page.next = last;
                return page;
            }
            last = Some(key.clone());
            if is_known {
                continue;
            }
            page.count += 1;
            match folder {
                Some(folder) => page.prefixes.push(folder),
                None => page.objects.push((key, meta)),
            }
        }
        page
    }
}
