//! The trust domains of the configuration, and what keeps the bundle of each.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bailiwick_config::{BundleSource, TrustedDomain};
use bailiwick_identity::{Authority, Keeper, LARGEST_BUNDLE, News, Pace, Trust, TrustDomain};
use bailiwick_pipeline::ports::Clock;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fetch::{self, Document};

/// Keeps the bundles of the trust domains that are configured, and of no others.
pub struct Bundles {
    trust: Arc<Trust>,
    clock: Arc<dyn Clock>,
    kept: Mutex<Vec<Kept>>,
}

/// A trust domain whose bundle is kept, until dropped.
struct Kept {
    of: TrustedDomain,
    authority: Arc<Authority>,
    /// Cancelled once its bundle was read, or could not be.
    tried: CancellationToken,
    _until: DropGuard,
}

impl Bundles {
    /// Of no trust domain yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { trust: Arc::default(), clock, kept: Mutex::default() }
    }

    /// Whose word counts now.
    pub fn trust(&self) -> &Arc<Trust> {
        &self.trust
    }

    /// From here on the word of none counts that is not wanted just as it is.
    pub fn narrow(&self, wanted: &[TrustedDomain]) {
        let mut kept = self.lock();
        kept.retain(|one| wanted.contains(&one.of));
        self.trust.set(kept.iter().map(|one| Arc::clone(&one.authority)));
    }

    /// Keeps the bundles of these, and of no others. Nobody of a domain is believed before its bundle was read.
    pub fn keep(&self, wanted: &[TrustedDomain]) {
        self.narrow(wanted);
        let mut kept = self.lock();
        for domain in wanted {
            if kept.iter().all(|one| one.of != *domain) {
                kept.push(Kept::begin(domain.clone(), Arc::clone(&self.clock)));
            }
        }
        self.trust.set(kept.iter().map(|one| Arc::clone(&one.authority)));
    }

    /// Returns once each bundle was read or could not be, or after `patience`.
    pub async fn tried(&self, patience: Duration) {
        let tried: Vec<_> = self.lock().iter().map(|one| one.tried.clone()).collect();
        let all = async {
            for one in tried {
                one.cancelled().await;
            }
        };
        // Whoever did not answer by then is asked on.
        let _later = tokio::time::timeout(patience, all).await;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn begin(of: TrustedDomain, clock: Arc<dyn Clock>) -> Self {
        let authority = Arc::new(Authority::new(of.name.clone()));
        let (stop, tried) = (CancellationToken::new(), CancellationToken::new());
        let pace = if matches!(of.bundle, BundleSource::File(_)) { Pace::File } else { Pace::Endpoint };
        let keeper = Keeper::new(Arc::clone(&authority), pace, of.max_stale);
        let keeping = keep(keeper, of.clone(), clock, tried.clone());
        let ends = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ends.cancelled() => {}
                () = keeping => {}
            }
        });
        Self { of, authority, tried, _until: stop.drop_guard() }
    }
}

async fn keep(mut keeper: Keeper, of: TrustedDomain, clock: Arc<dyn Clock>, tried: CancellationToken) {
    loop {
        let at_ms = clock.now_ms();
        let taken = keeper.take(read(&of.bundle).await, at_ms);
        if let Some(news) = &taken.news {
            tell(&of.name, news);
        }
        tried.cancel();
        tokio::time::sleep(taken.again_after).await;
    }
}

async fn read(source: &BundleSource) -> Result<Vec<u8>, String> {
    match source {
        BundleSource::File(path) => {
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || fetch::file(&path, LARGEST_BUNDLE as u64)).await;
            read.unwrap_or_else(|_| Err("it can't be read".to_owned()))
        }
        BundleSource::Endpoint { url, roots } => {
            Document { url: url.to_string(), roots: roots.clone() }.read(LARGEST_BUNDLE).await
        }
    }
}

fn tell(domain: &TrustDomain, news: &News) {
    match news {
        News::Changed(0) => {
            tracing::warn!(%domain, "the bundle of a trust domain has no authority that can be used: nobody of it is believed");
        }
        News::Changed(authorities) => tracing::info!(%domain, authorities, "the bundle of a trust domain is in force"),
        News::Back => tracing::info!(%domain, "the bundle of a trust domain can be read again"),
        News::Lost(why) => {
            tracing::warn!(%domain, why, "the bundle of a trust domain can't be read: the domain is closed once the last one is too old");
        }
    }
}
