package native

// For tests outside the package.
var (
	ReadAssignment = readAssignment
	ReadTopics     = readTopics
)
