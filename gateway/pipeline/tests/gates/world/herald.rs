//! A herald that keeps what it is told, as long as there is room.

use std::sync::Mutex;

use bailiwick_pipeline::{
    Inquiry,
    aside::{Aside, Herald},
    ports::Later,
};
use bytes::Bytes;

pub struct Recorded {
    room: usize,
    told: Mutex<Vec<Aside>>,
    /// What it was asked, and what is answered to that: none, and no answer ever comes.
    pub asked: Mutex<Vec<Inquiry>>,
    pub answer: Mutex<Option<Bytes>>,
}

impl Recorded {
    pub fn new() -> Self {
        Self::with_room(usize::MAX)
    }

    pub fn with_room(room: usize) -> Self {
        Self { room, told: Mutex::default(), asked: Mutex::default(), answer: Mutex::default() }
    }

    /// The `params` of all that it was told.
    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().iter().map(|aside| aside.params.clone()).collect()
    }
}

impl Herald for Recorded {
    fn tell(&self, aside: Aside) -> bool {
        let mut told = self.told.lock().unwrap();
        let has_room = told.len() < self.room;
        if has_room {
            told.push(aside);
        }
        has_room
    }

    fn ask(&self, inquiry: Inquiry) -> Later<'_, Option<Bytes>> {
        self.asked.lock().unwrap().push(inquiry);
        let answer = self.answer.lock().unwrap().clone();
        Box::pin(async move {
            match answer {
                Some(answer) => Some(answer),
                None => std::future::pending().await,
            }
        })
    }
}
