//! The session table of ADR 0010, section 2: each event in each state.

use wire::codes;

use super::frames::Got;
use super::rig::{Client, Rig, hello, ping};
use super::script::Given;
use crate::{Carrier, Host, Key, State};

/// What becomes of a connection, and what it is told, after the event in the first column. `-`: does not happen.
const TABLE: &str = "
event        | Opening               | Checking         | Joining                     | Live                        | Parked
hello        | Checking              | Checking         | Joining                     | Closing hello_twice detach  | -
frame        | Closing hello_expected| Checking         | Joining                     | Live pong                   | -
malformed    | Closing malformed     | Checking         | Joining                     | Closing malformed detach    | -
mistaken     | Closing bad_id        | Checking         | Joining                     | Live bad_id                 | -
admitted     | Opening               | Joining          | Joining                     | Live                        | Parked
refused      | Opening               | Closing bad_token| Joining                     | Live                        | Parked
rows came    | -                     | -                | Live welcome                | Live                        | Parked
unusable     | -                     | -                | Closing internal            | Live unavailable            | -
welcome      | -                     | -                | Live welcome                | -                           | -
replaced     | -                     | -                | Closing replaced            | Closing replaced            | gone
lost         | gone                  | gone             | gone detach                 | Parked                      | gone detach
lost socket  | gone                  | gone             | gone detach                 | gone detach                 | -
10 s         | Closing hello_timeout | Checking         | Joining                     | Live                        | Parked
60 s         | Closing hello_timeout | Checking         | Joining                     | Live ping                   | gone detach
90 s         | Closing hello_timeout | Checking         | Joining                     | Closing ping detach         | gone detach
token expired| -                     | -                | Closing token_expired detach| Closing token_expired detach| gone detach
stop         | Closing               | Closing goodbye  | Closing goodbye detach      | Closing goodbye detach      | gone detach
fail         | Closing internal      | Closing internal | Closing internal detach     | Closing internal detach     | gone detach
";

/// A connection in this state; one that the event can happen to.
fn prepare(rig: &mut Rig, state: State, event: &str) -> Client {
    let timed = event.ends_with(" s") || event == "lost socket";
    let carrier = if timed && state != State::Parked { Carrier::Socket } else { Carrier::Poll };
    let client = if carrier == Carrier::Socket { rig.socket() } else { rig.open(carrier) };
    let expires_ms = if event == "token expired" { rig.now().wall_ms + 1_000 } else { 0 };
    if state == State::Opening {
        return client;
    }
    rig.feed(client, &[hello()]);
    if state == State::Checking {
        return client;
    }
    // One that joins waits for its rows, or for `welcome`.
    rig.hold_loads = state == State::Joining && ["rows came", "unusable"].contains(&event);
    rig.script.hold_welcome = state == State::Joining && !rig.hold_loads;
    rig.admit(client, "ann", 1, expires_ms);
    rig.turn();
    if state == State::Parked {
        rig.gateway().lost(client.id);
    }
    rig.turn();
    rig.got(client);
    rig.script.given.clear();
    client
}

fn happen(rig: &mut Rig, client: Client, event: &str) {
    match event {
        "hello" => _ = rig.feed(client, &[hello()]),
        "frame" => _ = rig.feed(client, &[ping(7)]),
        "malformed" => _ = rig.bytes(client, &[2, 0xff, 0xff]),
        // A send with an empty id.
        "mistaken" => _ = rig.bytes(client, &[2, 0x12, 0x00]),
        "admitted" => {
            rig.script.hold_welcome = true;
            rig.admit(client, "ann", 1, 0);
        }
        "refused" => rig.gateway().refuse(client.id, codes::BAD_TOKEN, "no"),
        "rows came" => rig.hold_loads = false,
        "unusable" => {
            let rows = [seam::RowKey::user("ann"), seam::RowKey::user("bob")];
            rig.unusable.extend(rows.map(Key::Row));
            rig.hold_loads = false;
            rig.feed(client, &[wire::types::ClientFrame::DevicesGet { user: "bob".into() }]);
        }
        "welcome" => rig.welcome(),
        "replaced" => {
            rig.script.hold_welcome = false;
            rig.join("ann", 1);
            rig.script.given.retain(|given| *given != Given::Detach(client.id));
        }
        "lost" | "lost socket" => rig.gateway().lost(client.id),
        "10 s" => rig.pass(10_050),
        "60 s" => rig.pass(61_050),
        "90 s" => {
            rig.pass(61_050);
            rig.pass(31_050);
        }
        "token expired" => rig.pass(1_050),
        "stop" => rig.gateway().stop("a test", 0),
        "fail" => rig.gateway().fail("a test"),
        other => panic!("no event {other}"),
    }
    rig.turn();
}

/// What a test sees, as the table says it.
fn seen(rig: &mut Rig, client: Client) -> String {
    let state = rig.state(client).map_or("gone".to_owned(), |state| format!("{state:?}"));
    let told = rig.got(client).into_iter().map(|got| match got {
        Got::Error(code, _) => code,
        Got::Welcome(_) => "welcome".to_owned(),
        other => format!("{other:?}").split('(').next().unwrap_or_default().to_lowercase(),
    });
    let mut words: Vec<String> = std::iter::once(state).chain(told).collect();
    if rig.script.given.contains(&Given::Detach(client.id)) {
        words.push("detach".to_owned());
    }
    words.join(" ")
}

#[test]
fn each_event_in_each_state_does_what_the_table_says() {
    let mut rows = TABLE.trim().lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
    let _ = rows.next();
    let states = [State::Opening, State::Checking, State::Joining, State::Live, State::Parked];
    let (mut cells, mut wrong) = (0, Vec::new());
    for row in rows {
        let event = row[0];
        for (state, wanted) in states.into_iter().zip(&row[1..]) {
            if *wanted == "-" {
                continue;
            }
            let mut rig = Rig::default();
            let client = prepare(&mut rig, state, event);
            assert_eq!(rig.state(client), Some(state), "prepared for {event}");
            happen(&mut rig, client, event);
            let seen = seen(&mut rig, client);
            if seen != *wanted {
                wrong.push(format!("{event} in {state:?}: {seen}; wanted: {wanted}"));
            }
            cells += 1;
        }
    }
    assert_eq!((wrong, cells), (vec![], 72));
}
