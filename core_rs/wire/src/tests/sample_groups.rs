//! The samples of frames about groups: each kind of change once as it is wanted and once as it is told.

use std::borrow::Cow;

use crate::types::*;

const GROUP: ConversationId = *b"0123456789abcdef";
const OTHER: ConversationId = *b"fedcba9876543210";
const GROUP64: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
/// 32 times 0x01, and in base64.
const HASH: Hash = [1; 32];
const HASH64: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

fn users(names: &[&'static str]) -> Vec<Cow<'static, str>> {
    names.iter().map(|&name| Cow::Borrowed(name)).collect()
}

fn profile() -> Profile<'static> {
    Profile {
        name: Some(Cow::Borrowed(b"n")),
        description: Some(Cow::Borrowed(b"")),
        picture: Some(Cow::Borrowed(b"\xff\xfe")),
    }
}

const PROFILE: &str = r#"{"name":"bg==","description":"","picture":"//4="}"#;

fn rules() -> Rules {
    Rules { post: Who::Everyone, add: Who::Admins, edit: Who::Admins }
}

const RULES: &str = r#"{"add":"ADMINS","edit":"ADMINS"}"#;

/// What is said of a group that exists, the same wanted and told.
fn changes() -> Vec<(Change<'static>, String)> {
    vec![
        (Change::Profile(profile()), format!(r#"{{"profile":{PROFILE}}}"#)),
        (Change::Profile(Profile::default()), r#"{"profile":{}}"#.to_owned()),
        (Change::Rules(Rules { post: Who::Admins, ..Rules::default() }), r#"{"rules":{"post":"ADMINS"}}"#.to_owned()),
        (Change::Rules(rules()), format!(r#"{{"rules":{RULES}}}"#)),
        (Change::Added(users(&["bob", "eve"])), r#"{"added":{"users":["bob","eve"]}}"#.to_owned()),
        (Change::Removed(users(&["bob"])), r#"{"removed":{"users":["bob"]}}"#.to_owned()),
        (Change::Left { successor: "".into() }, r#"{"left":{}}"#.to_owned()),
        (Change::Promoted(users(&["bob"])), r#"{"promoted":{"users":["bob"]}}"#.to_owned()),
        (Change::Demoted(users(&["bob"])), r#"{"demoted":{"users":["bob"]}}"#.to_owned()),
        (Change::Owner("bob".into()), r#"{"owner":{"user":"bob"}}"#.to_owned()),
        (
            Change::Invited(Invite { hash: HASH, expires: 7 }),
            format!(r#"{{"invited":{{"hash":"{HASH64}","expires":7}}}}"#),
        ),
        (Change::Revoked(HASH), format!(r#"{{"revoked":{{"hash":"{HASH64}"}}}}"#)),
        (Change::Closed, r#"{"closed":{}}"#.to_owned()),
    ]
}

fn created() -> (Change<'static>, String) {
    let change = Change::Created { members: users(&["bob", "eve"]), profile: profile(), rules: rules() };
    (change, format!(r#"{{"created":{{"members":["bob","eve"],"profile":{PROFILE},"rules":{RULES}}}}}"#))
}

pub fn client() -> Vec<(ClientFrame<'static>, String)> {
    let secret = Cow::Borrowed(&b"0123456789abcdef"[..]);
    let joined = Change::Joined { hash: Hash::default(), secret };
    let mut wanted = changes();
    wanted.push((joined, format!(r#"{{"joined":{{"secret":"{GROUP64}"}}}}"#)));
    let id = || Cow::Borrowed(&b"\x01\x02"[..]);
    let mut frames: Vec<_> = wanted
        .into_iter()
        .map(|(change, text)| {
            let manage = Manage { id: id(), conversation: Some(GROUP), change };
            let text = format!(r#"{{"manage":{{"id":"AQI=","conversation":"{GROUP64}","change":{text}}}}}"#);
            (ClientFrame::Manage(manage), text)
        })
        .collect();
    let (change, text) = created();
    let text = format!(r#"{{"manage":{{"id":"AQI=","change":{text}}}}}"#);
    frames.push((ClientFrame::Manage(Manage { id: id(), conversation: None, change }), text));
    let nothing = Change::Created { members: Vec::new(), profile: Profile::default(), rules: Rules::default() };
    frames.push((
        ClientFrame::Manage(Manage { id: id(), conversation: None, change: nothing }),
        r#"{"manage":{"id":"AQI=","change":{"created":{}}}}"#.to_owned(),
    ));
    frames.extend([
        (ClientFrame::GroupGet { conversation: None }, r#"{"groupGet":{}}"#.to_owned()),
        (
            ClientFrame::GroupGet { conversation: Some(GROUP) },
            format!(r#"{{"groupGet":{{"conversation":"{GROUP64}"}}}}"#),
        ),
        (
            ClientFrame::ProgressGet { conversation: GROUP, seq: 3 },
            format!(r#"{{"progressGet":{{"conversation":"{GROUP64}","seq":3}}}}"#),
        ),
        (ClientFrame::Block { user: "".into(), off: false }, r#"{"block":{}}"#.to_owned()),
        (ClientFrame::Block { user: "eve".into(), off: true }, r#"{"block":{"user":"eve","off":true}}"#.to_owned()),
    ]);
    frames
}

pub fn server() -> Vec<(ServerFrame<'static>, String)> {
    let mut told = changes();
    told.push(created());
    told.push((Change::Left { successor: "bob".into() }, r#"{"left":{"successor":"bob"}}"#.to_owned()));
    let joined = Change::Joined { hash: HASH, secret: Cow::Borrowed(&[]) };
    told.push((joined, format!(r#"{{"joined":{{"hash":"{HASH64}"}}}}"#)));
    let mut frames: Vec<_> = told
        .into_iter()
        .map(|(change, text)| {
            let message = Message {
                conversation: GROUP,
                seq: 2,
                sender: "ann",
                device: 1,
                id: b"\x01",
                time: 3,
                body: b"",
                media: Vec::new(),
                to: "",
                change: Some(Box::new(change)),
            };
            let text = format!(
                r#"{{"message":{{"conversation":"{GROUP64}","seq":2,"sender":"ann","device":1,"id":"AQ==","time":3,"change":{text}}}}}"#
            );
            (ServerFrame::Message(message), text)
        })
        .collect();
    let cursors = &[
        CursorOf { user: "bob", delivered: 3, read: 2, skipped: false },
        CursorOf { user: "eve", delivered: 1, read: 0, skipped: true },
    ];
    let cursors64 = r#"[{"user":"bob","delivered":3,"read":2},{"user":"eve","delivered":1,"skipped":true}]"#;
    frames.extend([
        (
            ServerFrame::Group(GroupFrame {
                conversation: GROUP,
                seq: 9,
                members: vec![("ann", Role::Owner), ("bob", Role::Admin), ("eve", Role::Member)],
                profile: profile(),
                rules: rules(),
                invites: &[Invite { hash: HASH, expires: 7 }],
                closed: true,
            }),
            format!(
                r#"{{"group":{{"conversation":"{GROUP64}","seq":9,"members":[{{"user":"ann","role":"OWNER"}},{{"user":"bob","role":"ADMIN"}},{{"user":"eve"}}],"profile":{PROFILE},"rules":{RULES},"invites":[{{"hash":"{HASH64}","expires":7}}],"closed":true}}}}"#
            ),
        ),
        (
            ServerFrame::Groups(&[GROUP, OTHER]),
            format!(r#"{{"groups":{{"conversations":["{GROUP64}","ZmVkY2JhOTg3NjU0MzIxMA=="]}}}}"#),
        ),
        (
            ServerFrame::Progress { conversation: GROUP, seq: 3, cursors },
            format!(r#"{{"progress":{{"conversation":"{GROUP64}","seq":3,"cursors":{cursors64}}}}}"#),
        ),
        (
            ServerFrame::Receipts { conversation: Some(GROUP), cursors, version: b"\x09" },
            format!(r#"{{"receipts":{{"conversation":"{GROUP64}","cursors":{cursors64},"version":"CQ=="}}}}"#),
        ),
        (
            ServerFrame::Receipts { conversation: None, cursors: &[], version: b"\x09" },
            r#"{"receipts":{"version":"CQ=="}}"#.to_owned(),
        ),
        (ServerFrame::Blocks(vec!["eve", "bob"]), r#"{"blocks":{"users":["eve","bob"]}}"#.to_owned()),
    ]);
    frames
}
