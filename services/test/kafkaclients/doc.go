// Package kafkaclients has Kafka clients of other makers work against the
// platform: kcat, confluent-kafka, kafka-python, sarama, kafka-go, kafkajs and
// Kafka's own tools. `make kafka-clients` installs them and runs the tests;
// without them the tests fail. README.md tells what each client is put to.
package kafkaclients
