//! `Image.Publish`: what is taken, what is refused, what becomes visible.

use std::{sync::Arc, time::Duration};

use dominator_protocol_core::{Commit, ErrorCode, Method, Offer, Published, Want};
use dominator_protocol_quic::{Call, Connection, Error, Settings};
use dominator_store_core::{ImageId, ObjectId, ObjectKind};

use crate::{Harness, PUBLISHER, image_of, record};

async fn offer(call: &mut Call, ids: &[ObjectId]) -> Vec<bool> {
    call.send(&Offer { ids: ids.to_vec() }).await.unwrap();
    call.expect::<Want>().await.unwrap().flags(ids.len()).unwrap()
}

/// Publishes as a well-behaved client does; returns what was sent.
pub(crate) async fn publish(
    connection: &Connection,
    name: &str,
    image: ImageId,
    records: &[(ObjectId, Vec<u8>)],
) -> Result<(usize, Published), Error> {
    let mut call = connection.call(Method::ImagePublish).await?;
    let ids: Vec<ObjectId> = records.iter().map(|(id, _)| *id).collect();
    let flags = offer(&mut call, &ids).await;
    for ((_, record), _) in records.iter().zip(&flags).filter(|(_, wanted)| **wanted) {
        call.feed_object(record).await?;
    }
    call.send(&Commit { name: name.into(), image }).await?;
    call.finish().await?;
    let published = call.expect().await?;
    Ok((flags.iter().filter(|wanted| **wanted).count(), published))
}

fn code(error: &Error) -> ErrorCode {
    error.failure().unwrap_or_else(|| panic!("not a failure of the call: {error}")).code
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_lacking_travels() {
    let harness = Harness::start();
    let connection = harness.connect("ci", PUBLISHER).await;
    let (first, _, records) = image_of(&[b"one", b"two"]);
    let (sent, published) = publish(&connection, "a/1", first, &records).await.unwrap();
    assert_eq!((sent, published.new_object_count), (4, 4));
    let (second, _, records) = image_of(&[b"one", b"three"]);
    let (sent, published) = publish(&connection, "a/2", second, &records).await.unwrap();
    assert_eq!((sent, published.new_object_count), (3, 3), "a chunk, a tree and an image are new");
    let (sent, published) = publish(&connection, "a/2", second, &records).await.unwrap();
    assert_eq!((sent, published.new_object_count), (0, 0), "the same name for the same image changes nothing");
    let images = harness.store.images("", None, 10).unwrap();
    assert_eq!(
        images.iter().map(|image| (image.name.as_str(), image.image)).collect::<Vec<_>>(),
        [("a/1", first), ("a/2", second)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_keeps_its_image() {
    let harness = Harness::start();
    let connection = harness.connect("ci", PUBLISHER).await;
    let (first, _, records) = image_of(&[b"one"]);
    publish(&connection, "a", first, &records).await.unwrap();
    let (second, _, records) = image_of(&[b"two"]);
    let error = publish(&connection, "a", second, &records).await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::Conflict);
    assert_eq!(harness.store.image(&"a".parse().unwrap()).unwrap().unwrap().id, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_visible_before_it_is_whole() {
    let harness = Harness::start();
    let connection = harness.connect("ci", PUBLISHER).await;
    let (image, _, records) = image_of(&[b"one", b"two"]);
    for lacking in 0..records.len() {
        let mut some = records.clone();
        let (lost, _) = some.remove(lacking);
        // Objects of earlier attempts are kept, so each attempt lacks something of its own.
        let other = Harness::start();
        let connection = other.connect("ci", PUBLISHER).await;
        let error = publish(&connection, "a", image, &some).await.unwrap_err();
        assert_eq!(code(&error), ErrorCode::BadRequest, "without {lost}");
        assert!(error.to_string().contains(&lost.digest.to_string()), "{error} does not name {lost}");
        assert!(other.store.images("", None, 10).unwrap().is_empty());
    }
    // A call that ends without a commit leaves nothing either, and the next one goes on from there.
    let mut call = connection.call(Method::ImagePublish).await.unwrap();
    offer(&mut call, &[records[0].0]).await;
    call.feed_object(&records[0].1).await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(code(&call.recv().await.unwrap_err()), ErrorCode::BadRequest);
    assert!(harness.store.images("", None, 10).unwrap().is_empty());
    publish(&connection, "a", image, &records).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_not_what_it_claims_to_be_is_refused() {
    let harness = Harness::start();
    let connection = harness.connect("eve", PUBLISHER).await;
    let (id, good) = record(ObjectKind::Chunk, b"the content that was promised, long enough");
    let (_, other) = record(ObjectKind::Chunk, b"something else that nobody asked for at all");
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    // Another object under the promised id, with a checksum that fits.
    let mut forged = other.clone();
    forged[12..44].copy_from_slice(&good[12..44]);
    let cases = [("a flipped bit", flipped, ErrorCode::Corrupt), ("a forged id", forged, ErrorCode::Corrupt)];
    for (what, bad, expected) in cases {
        let mut call = connection.call(Method::ImagePublish).await.unwrap();
        assert_eq!(offer(&mut call, &[id]).await, [true]);
        call.feed_object(&bad).await.unwrap();
        call.send(&Commit { name: "a".into(), image: ImageId::new(id.digest) }).await.unwrap();
        call.finish().await.unwrap();
        assert_eq!(code(&call.recv().await.unwrap_err()), expected, "{what}");
        assert!(!harness.store.has(id).unwrap(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_nobody_asked_for_is_refused() {
    let harness = Harness::start();
    let connection = harness.connect("eve", PUBLISHER).await;
    let (id, bytes) = record(ObjectKind::Chunk, b"unasked");
    let mut call = connection.call(Method::ImagePublish).await.unwrap();
    call.feed_object(&bytes).await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(code(&call.recv().await.unwrap_err()), ErrorCode::BadRequest);
    // Once asked for is once to be sent.
    let mut call = connection.call(Method::ImagePublish).await.unwrap();
    assert_eq!(offer(&mut call, &[id, id]).await, [true, false]);
    call.feed_object(&bytes).await.unwrap();
    call.feed_object(&bytes).await.unwrap();
    call.finish().await.unwrap();
    assert_eq!(code(&call.recv().await.unwrap_err()), ErrorCode::BadRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishes_have_a_limit_and_a_stalled_one_gives_its_place_back() {
    let settings = Settings { call_idle_timeout: Duration::from_millis(300), ..Settings::default() };
    let harness = Harness::start_with(settings, 64, 1);
    let slow = harness.connect("slow", PUBLISHER).await;
    let mut stalled = slow.call(Method::ImagePublish).await.unwrap();
    let (image, _, records) = image_of(&[b"one"]);
    offer(&mut stalled, &[records[0].0]).await;
    let other = harness.connect("other", PUBLISHER).await;
    let error = publish_refused(&other).await;
    assert_eq!(code(&error), ErrorCode::Busy);
    // The stalled one is dropped by the server, and told so.
    assert_eq!(code(&stalled.recv().await.unwrap_err()), ErrorCode::Timeout);
    publish(&other, "a", image, &records).await.unwrap();
}

async fn publish_refused(connection: &Connection) -> Error {
    let mut call = connection.call(Method::ImagePublish).await.unwrap();
    call.finish().await.unwrap();
    call.recv().await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permission_and_its_scope_decide() {
    let harness = Harness::start();
    let (image, _, records) = image_of(&[b"one"]);
    let agent = harness.connect("agent", &["Object.Get"]).await;
    let error = publish_refused(&agent).await;
    assert_eq!(code(&error), ErrorCode::Denied);
    assert!(error.to_string().contains("Image.Publish is not allowed for agent"), "{error}");
    let team = harness.connect("team", &["Image.Publish@team/*"]).await;
    let error = publish(&team, "base/1", image, &records).await.unwrap_err();
    assert_eq!(code(&error), ErrorCode::Denied);
    assert!(harness.store.images("", None, 10).unwrap().is_empty());
    publish(&team, "team/1", image, &records).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_publishers_of_the_same_content_both_succeed() {
    let harness = Arc::new(Harness::start());
    let contents: Vec<Vec<u8>> = (0..200_u32).map(|number| number.to_le_bytes().repeat(500)).collect();
    let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let (image, _, records) = image_of(&contents);
    let both = ["a", "b"].map(|name| {
        let (harness, records) = (Arc::clone(&harness), records.clone());
        tokio::spawn(async move {
            let connection = harness.connect(name, PUBLISHER).await;
            publish(&connection, name, image, &records).await.map(|_| ())
        })
    });
    for publisher in both {
        publisher.await.unwrap().unwrap();
    }
    assert_eq!(harness.store.images("", None, 10).unwrap().len(), 2);
}
