//! The made-up protocol: what it is told to ask for, and what it says it was answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sluice_core::extranonce::{ExtranoncePrefix, Parked};
use sluice_core::ids::{ChannelId, JobId, WorkerName};
use sluice_core::policy::auth::Login;
use sluice_core::policy::vardiff::{ChannelFacts, Opening};
use sluice_core::session::{Answer, ChannelKind, Close, Effect, Note, Recipient, Session};
use sluice_core::units::{Difficulty, Moment, Now, Timestamp};
use sluice_stratum_v1::Announcement;

use super::{client, name};

/// Each line is an effect; each answer and offer is a line.
#[derive(Default)]
pub(super) struct Parrot {
    line: String,
    effects: VecDeque<Effect>,
    out: String,
    prefixes: Vec<ExtranoncePrefix>,
    due: Option<Moment>,
    /// Wants nothing before the next answer.
    is_still: bool,
}

fn opening(agent: &str) -> Opening {
    let channel = Arc::new(ChannelFacts {
        account: name("alice"),
        worker: WorkerName::new("").unwrap(),
        client: client(agent, ""),
        password: None,
        floor: Difficulty::MIN,
        ceiling: Difficulty::MAX,
    });
    Opening { channel, now: Timestamp(0), start: None, suggested: None, nominal_hashrate: None }
}

impl Parrot {
    fn obey(&mut self, now: Now, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "" => return,
            "due" => {
                self.due = Some(now.moment.after(Duration::from_millis(words[1].parse().unwrap())));
                return;
            }
            "still" => {
                self.is_still = true;
                return;
            }
            _ => {}
        }
        let channel = ChannelId(words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0));
        let account = || name(words[2]);
        self.effects.push_back(match words[0] {
            "reserve" => Effect::Reserve { channel, resume: None },
            "release" => Effect::Release { prefix: self.prefixes.pop().unwrap(), used: true },
            "login" => {
                let (username, password) = (words[2].to_owned(), None);
                Effect::Authorize {
                    channel,
                    login: Box::new(Login { username, password, client: client("", "") }),
                }
            }
            "open" => {
                let agent = words.get(2).copied().unwrap_or_default();
                Effect::Open { channel, opening: Box::new(opening(agent)) }
            }
            "name" => {
                let worker = WorkerName::new(words[3]).unwrap();
                Effect::Name { channel, account: account(), worker }
            }
            "supply" => Effect::Supply { channel, account: account() },
            "unsupply" => Effect::Unsupply(account()),
            "fresh" => {
                let sent = words[3].parse().ok().map(JobId);
                Effect::FreshWork { channel, account: account(), sent }
            }
            "established" => Effect::Established,
            "opened" => Effect::Note(Note::ChannelOpened(ChannelKind::Extended)),
            "refuse" => Effect::Note(Note::ChannelRefused("unknown-user")),
            "keep" => Effect::Note(Note::UpdateRefused("invalid-channel-id")),
            "stray" => Effect::Note(Note::Strayed("channel_bit")),
            "closed" => Effect::Note(Note::ChannelClosed(ChannelKind::Extended)),
            "end" => Effect::Close(Close::Malformed),
            other => panic!("{other:?} is no command"),
        });
    }

    fn tell(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }
}

impl Session for Parrot {
    type Work = Announcement;

    fn receive(&mut self, now: Now, bytes: &[u8]) -> usize {
        self.line.push_str(std::str::from_utf8(bytes).unwrap());
        while let Some((line, rest)) = self.line.clone().split_once('\n') {
            self.line = rest.to_owned();
            self.obey(now, line);
        }
        bytes.len()
    }

    fn wants_input(&self) -> bool {
        !self.is_still
    }

    fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn answer(&mut self, _now: Now, answer: Answer) {
        self.is_still = false;
        let line = match answer {
            Answer::Reserved(channel, reservation) => {
                let is_there = reservation.is_some();
                self.prefixes.extend(reservation.map(|reservation| reservation.prefix));
                format!("reserved {channel} {is_there}")
            }
            Answer::Authorized(channel, outcome) => format!("authorized {channel} {}", outcome.is_ok()),
            Answer::Opened(channel, decision) => format!("opened {channel} {}", decision.is_some()),
            Answer::Reviewed(channel, decision) => format!("reviewed {channel} {}", decision.is_some()),
            Answer::Named(channel, worker) => format!("named {channel} {}", worker.is_some()),
        };
        self.tell(&line);
    }

    fn offer(&mut self, _now: Now, to: Recipient, work: &Arc<Announcement>) {
        let owner = work.job().owner.as_ref().map_or("-", |owner| owner.as_str()).to_owned();
        match to {
            Recipient::Everyone => self.tell(&format!("work everyone {owner}")),
            Recipient::Channel(channel) => self.tell(&format!("work {channel} {owner}")),
        }
    }

    fn committed(&mut self, _shares: u64) {}

    fn transmit(&mut self, _now: Now, out: &mut Vec<u8>) {
        out.append(&mut std::mem::take(&mut self.out).into_bytes());
    }

    fn deadline(&self) -> Option<Moment> {
        self.due
    }

    fn timeout(&mut self, now: Now) {
        if self.due.is_some_and(|due| due <= now.moment) {
            self.effects.push_back(Effect::Close(Close::Idle));
        }
    }

    fn park(&mut self) -> Vec<Parked> {
        self.prefixes.drain(..).map(|prefix| Parked { prefix, resume: None, used: true }).collect()
    }

    fn shut_down(&mut self, _now: Now, why: Close) {
        self.effects.push_back(Effect::Close(why));
    }
}
