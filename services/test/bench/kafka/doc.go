// Package kafka measures the Kafka door beside Apache Kafka: the same loader,
// the same machine, in turns.
package kafka
