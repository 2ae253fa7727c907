//! A herald that keeps what it is told, as long as there is room.

use std::sync::Mutex;

use bailiwick_pipeline::aside::{Aside, Herald};

pub struct Recorded {
    room: usize,
    told: Mutex<Vec<Aside>>,
}

impl Recorded {
    pub fn new() -> Self {
        Self::with_room(usize::MAX)
    }

    pub fn with_room(room: usize) -> Self {
        Self { room, told: Mutex::default() }
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
}
