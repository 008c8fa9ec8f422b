package chat_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall/chat"
)

// childJob names, in the environment, what this test binary does when a benchmark starts it as a process of its own.
const childJob = "ROLLCALL_CHAT_TEST_CHILD"

// childJobs are the mains of such processes.
var childJobs = map[string]func(){}

// No test may leave a goroutine behind.
func TestMain(m *testing.M) {
	if job := childJobs[os.Getenv(childJob)]; job != nil {
		job()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}

// chattest.World waits by it until all is delivered.
var _ interface{ Settle() } = (*chat.Service)(nil)
