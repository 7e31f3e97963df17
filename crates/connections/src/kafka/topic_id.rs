//! The id of a topic, by which a recreated topic differs from the deleted one. librdkafka has the
//! call, rdkafka does not offer it.
#![allow(
    unsafe_code,
    reason = "the only way to librdkafka's DescribeTopics; every pointer is checked and freed here"
)]

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings as ffi;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use uuid::Uuid;

use super::context::Consumer;

/// The id of `topic`; nil from brokers without topic ids.
///
/// # Errors
/// When no broker answers within `limit`, or the topic does not exist.
pub(super) fn fetch(consumer: &Consumer, topic: &str, limit: Duration) -> Result<Uuid, KafkaError> {
    let name = CString::new(topic).map_err(KafkaError::Nul)?;
    let limit_ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    let client = consumer.client().native_ptr();
    // SAFETY: `client` lives as long as `consumer`. Everything created here is destroyed here,
    // after its last use: the topics and options once the request has its own copies, the event
    // after its parts were read.
    unsafe {
        let queue = ffi::rd_kafka_queue_new(client);
        let options = ffi::rd_kafka_AdminOptions_new(
            client,
            ffi::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        ffi::rd_kafka_AdminOptions_set_request_timeout(options, limit_ms, std::ptr::null_mut(), 0);
        let mut names = [name.as_ptr()];
        let topics = ffi::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        ffi::rd_kafka_DescribeTopics(client, topics, options, queue);
        ffi::rd_kafka_TopicCollection_destroy(topics);
        ffi::rd_kafka_AdminOptions_destroy(options);
        let event = ffi::rd_kafka_queue_poll(queue, limit_ms);
        let found = if event.is_null() {
            Err(RDKafkaErrorCode::OperationTimedOut)
        } else {
            read(event)
        };
        if !event.is_null() {
            ffi::rd_kafka_event_destroy(event);
        }
        ffi::rd_kafka_queue_destroy(queue);
        found.map_err(KafkaError::MetadataFetch)
    }
}

/// # Safety
/// `event` must be one that DescribeTopics answered for a single topic with.
unsafe fn read(event: *mut ffi::rd_kafka_event_t) -> Result<Uuid, RDKafkaErrorCode> {
    let check = |code: ffi::rd_kafka_resp_err_t| match RDKafkaErrorCode::from(code) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(code),
    };
    // SAFETY: all pointers below belong to `event`; those that can be null are checked.
    unsafe {
        check(ffi::rd_kafka_event_error(event))?;
        let result = ffi::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(RDKafkaErrorCode::InvalidArgument);
        }
        let mut count = 0;
        let topics = ffi::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count != 1 {
            return Err(RDKafkaErrorCode::UnknownTopicOrPartition);
        }
        let topic = *topics;
        let error = ffi::rd_kafka_TopicDescription_error(topic);
        if !error.is_null() {
            check(ffi::rd_kafka_error_code(error))?;
        }
        let id = ffi::rd_kafka_TopicDescription_topic_id(topic);
        if id.is_null() {
            return Ok(Uuid::nil());
        }
        let half = |bits: i64| u64::from_ne_bytes(bits.to_ne_bytes());
        Ok(Uuid::from_u64_pair(
            half(ffi::rd_kafka_Uuid_most_significant_bits(id)),
            half(ffi::rd_kafka_Uuid_least_significant_bits(id)),
        ))
    }
}
