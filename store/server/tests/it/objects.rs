//! `Object.Get` and `Object.Recipes`.

use std::os::unix::fs::FileExt as _;

use dominator_protocol_core::{Absent, ErrorCode, Get, Message, Method, Object, Recipes};
use dominator_protocol_quic::{Connection, Error};
use dominator_store_core::{BlobId, ObjectId, ObjectKind, Recipe, Record};
use dominator_store_engine::{Progress, PublishOptions};
use dominator_store_pack::open_record;

use crate::Harness;

const AGENT: &[&str] = &["Object.Get", "Object.Recipes"];

async fn get(connection: &Connection, batches: &[&[ObjectId]]) -> Result<Vec<Message>, Error> {
    let mut call = connection.call(Method::ObjectGet).await?;
    for ids in batches {
        call.feed(&Get { ids: ids.to_vec() }).await?;
    }
    call.finish().await?;
    let mut answers = Vec::new();
    while let Some(answer) = call.recv().await? {
        answers.push(answer);
    }
    Ok(answers)
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(len)
    .collect()
}

/// Publishes a directory with one small and one large file into the store itself.
fn publish_files(harness: &Harness) -> (Vec<u8>, Vec<u8>) {
    let tree = harness.dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let (small, large) = (b"small".to_vec(), noise(3_000_000));
    std::fs::write(tree.join("small"), &small).unwrap();
    std::fs::write(tree.join("large"), &large).unwrap();
    let name = "a".parse().unwrap();
    harness.store.publish_tree(&name, &tree, &PublishOptions::default(), &Progress::default()).unwrap();
    (small, large)
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_come_in_the_order_of_the_questions_as_they_are_stored() {
    let harness = Harness::start();
    let (_, large) = publish_files(&harness);
    let agent = harness.connect("agent", AGENT).await;
    let mut call = agent.call(Method::ObjectRecipes).await.unwrap();
    let blobs = vec![BlobId::of(&large), BlobId::of(b"small"), BlobId::of(b"nowhere")];
    call.feed(&Recipes { blobs }).await.unwrap();
    call.finish().await.unwrap();
    let Some(Message::Object(Object(record))) = call.recv().await.unwrap() else { panic!("a recipe was due") };
    let recipe = Recipe::decode(&open_record(&Record::parse(&record).unwrap()).unwrap()).unwrap();
    assert!(matches!(call.recv().await.unwrap(), Some(Message::Single(_))));
    assert!(matches!(call.recv().await.unwrap(), Some(Message::Absent(_))));
    assert!(call.recv().await.unwrap().is_none());

    let absent = ObjectId::of(ObjectKind::Chunk, b"nowhere");
    let mut ids: Vec<ObjectId> = recipe.chunks().iter().map(|chunk| chunk.id.into()).collect();
    ids.insert(1, absent);
    let (first, second) = ids.split_at(7);
    let answers = get(&agent, &[first, &[], second]).await.unwrap();
    assert_eq!(answers.len(), ids.len());
    let mut content = Vec::new();
    for (id, answer) in ids.iter().zip(answers) {
        match answer {
            Message::Object(Object(record)) => {
                assert_eq!(record, harness.store.record(*id).unwrap().unwrap());
                content.extend(open_record(&Record::parse(&record).unwrap()).unwrap());
            }
            Message::Absent(Absent { digest }) => assert_eq!((*id, digest), (absent, absent.digest)),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(content == large, "the chunks are not the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_never_sent_and_the_failure_names_it() {
    let harness = Harness::start();
    let (small, _) = publish_files(&harness);
    let id = ObjectId::of(ObjectKind::Chunk, &small);
    flip_a_byte_of(&harness, &small);
    let agent = harness.connect("agent", AGENT).await;
    let error = get(&agent, &[&[id]]).await.unwrap_err();
    let failure = error.failure().expect("the call fails");
    assert_eq!(failure.code, ErrorCode::Corrupt);
    assert!(failure.message.contains(&id.digest.to_string()), "{failure}");
}

/// Finds content that is stored raw in a pack and changes a byte of it.
fn flip_a_byte_of(harness: &Harness, content: &[u8]) {
    let mut pending = vec![harness.store.dir().to_owned()];
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        if let Some(pos) = bytes.windows(content.len()).position(|window| window == content) {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_at(&[bytes[pos] ^ 1], pos as u64).unwrap();
            return;
        }
    }
    panic!("the content is in no file of the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_have_a_limit() {
    let harness = Harness::start_with(Default::default(), 1, 1);
    let agent = harness.connect("agent", AGENT).await;
    let id = ObjectId::of(ObjectKind::Chunk, b"nowhere");
    let mut open = agent.call(Method::ObjectGet).await.unwrap();
    open.send(&Get { ids: vec![id] }).await.unwrap();
    assert!(matches!(open.recv().await.unwrap(), Some(Message::Absent(_))));
    let error = get(&agent, &[&[id]]).await.unwrap_err();
    assert_eq!(error.failure().unwrap().code, ErrorCode::Busy);
    open.finish().await.unwrap();
    assert!(open.recv().await.unwrap().is_none());
}
