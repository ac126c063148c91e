//! What is told about a run: how many of what, how long, and how things stand.

use super::histogram::Histogram;

/// Whose times are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Those that the run is about.
    Main,
    /// Those that disturb it: they stall, or come and go.
    Aside,
    /// Those that go on beside it.
    Others,
}

impl Group {
    const ALL: [(Self, &'static str); 3] = [(Self::Main, "main"), (Self::Aside, "aside"), (Self::Others, "others")];

    /// By the name that it has in reports.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(group, _)| *group)
    }
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Numbers since the beginning, unless it says otherwise. Times are of CLOCK_MONOTONIC, ns.
        #[derive(Clone, Debug, Default)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            /// All of them by name.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counts! {
    /// Messages sent; a repeat counts once.
    sent,
    /// Messages accepted.
    accepted,
    /// Messages that are in flight no more, see `Until`.
    done,
    /// Messages that reached somebody, as often as they did.
    deliveries,
    /// Of these to clients of `Group::Main`.
    deliveries_main,
    /// Of these to clients of `Group::Others`.
    deliveries_others,
    /// Messages that came again on a new connection.
    repeated,
    /// Receipts.
    receipts,
    /// Snapshots of groups.
    snapshots,
    /// Welcomes.
    logins,
    /// Connections that the server ended, of clients that did not read.
    lost,
    /// Turns of the loop.
    turns,
    /// Messages that should have been sent, when nobody could.
    unsent,
    /// When the last message arrived that was new.
    last_delivery,
    /// When the last one arrived at a client of `Group::Main`.
    last_delivery_main,
    /// When the last welcome came.
    last_login,
    /// Clients that are to be connected now.
    wanted,
    /// Clients that are welcome now.
    open,
    /// Groups that are not made yet.
    groups_to_make,
    /// Messages that are not accepted yet.
    unaccepted,
    /// Messages that somebody lacks, as often as somebody does.
    owed,
    /// Messages in flight.
    in_flight,
}

/// Times of one group of clients.
#[derive(Default)]
struct Of {
    accept: Histogram,
    delivery: Histogram,
    catch_up: Histogram,
    done: Histogram,
}

/// How long things took.
#[derive(Default)]
pub struct Times {
    main: Of,
    aside: Of,
    others: Of,
    login: Histogram,
}

impl Times {
    fn of(&mut self, group: Group) -> &mut Of {
        match group {
            Group::Main => &mut self.main,
            Group::Aside => &mut self.aside,
            Group::Others => &mut self.others,
        }
    }

    /// From the send to `accepted`.
    pub(super) fn accept(&mut self, group: Group, ns: u64) {
        self.of(group).accept.add(ns);
    }

    /// From the send to the arrival; or, for a message that waited, from when its recipient began to connect.
    pub(super) fn delivery(&mut self, group: Group, ns: u64, waited: bool) {
        let of = self.of(group);
        if waited { &mut of.catch_up } else { &mut of.delivery }.add(ns);
    }

    /// From the send until it was in flight no more.
    pub(super) fn done(&mut self, group: Group, ns: u64) {
        self.of(group).done.add(ns);
    }

    /// From the beginning of a connection to its welcome.
    pub(super) fn login(&mut self, ns: u64) {
        self.login.add(ns);
    }

    /// By name (`delivery.main`), as [`Histogram::take`].
    pub(super) fn take(&mut self) -> Vec<(String, Vec<(u64, u64)>)> {
        let mut all = vec![("login".to_owned(), self.login.take())];
        for (group, name) in Group::ALL {
            let of = self.of(group);
            all.push((format!("accept.{name}"), of.accept.take()));
            all.push((format!("delivery.{name}"), of.delivery.take()));
            all.push((format!("catch_up.{name}"), of.catch_up.take()));
            all.push((format!("done.{name}"), of.done.take()));
        }
        all
    }
}
