package chat_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/rollcall-go/rollcall/chat"
)

// No test may leave a goroutine behind.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}

// chattest.World waits by it until all is delivered.
var _ interface{ Settle() } = (*chat.Service)(nil)
