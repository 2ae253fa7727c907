//! A real receiver of messages over HTTP.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::watch};

/// One message that came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

/// What it answers: a status, and headers.
pub(crate) type Says = (u16, Vec<(&'static str, String)>);

pub(crate) struct Receiver {
    pub(crate) at: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    says: Arc<Mutex<VecDeque<Says>>>,
    count: watch::Receiver<usize>,
}

impl Receiver {
    /// Answers these, one after the other, and then 204.
    pub(crate) async fn new(says: Vec<Says>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (got, says) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(VecDeque::from(says))));
        let (tell, count) = watch::channel(0);
        let (seen, to_say) = (Arc::clone(&got), Arc::clone(&says));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, to_say, tell) = (Arc::clone(&seen), Arc::clone(&to_say), tell.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (seen, to_say, tell) = (Arc::clone(&seen), Arc::clone(&to_say), tell.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
                        seen.lock().unwrap().push(Got { headers: head.headers, body });
                        tell.send_modify(|count| *count += 1);
                        let (status, headers) = to_say.lock().unwrap().pop_front().unwrap_or((204, Vec::new()));
                        let mut answer = Response::builder().status(status);
                        for (name, value) in headers {
                            answer = answer.header(name, value);
                        }
                        Ok::<_, Infallible>(answer.body(Full::new(Bytes::from_static(b"so it is"))).unwrap())
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { at, got, says, count }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.at)
    }

    pub(crate) fn will_say(&self, says: Says) {
        self.says.lock().unwrap().push_back(says);
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// What came, once so many have.
    pub(crate) async fn after(&self, count: usize) -> Vec<Got> {
        let mut seen = self.count.clone();
        let came = tokio::time::timeout(super::PATIENCE, seen.wait_for(|seen| *seen >= count)).await;
        came.unwrap_or_else(|_| panic!("{} of {count} messages came", self.got().len())).unwrap();
        self.got()
    }
}
