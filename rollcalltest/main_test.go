package rollcalltest_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No test may leave a goroutine behind, the client's or the server's.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) // gnet starts a goroutine pool when it is imported
}
