// Package kafkadiff asks the platform and a broker of Apache Kafka the same
// requests and compares their answers, field by field. `make kafka-diff` runs
// it. What differs on purpose stands in explained_test.go, with the reason.
package kafkadiff
