//go:build !race

package usermgr_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/rollcall-go/rollcall/usermgr"
)

// loopLink is a link of a loop that comes to what is asked of it later, as an engine's does.
type loopLink struct {
	usermgr.Link
	loop *taskLoop
}

func (l loopLink) Quiesce(done func()) { l.loop.post(done) }

// taskLoop runs tasks in order on its goroutine, and notes how many goroutines there were.
type taskLoop struct {
	mu    sync.Mutex
	tasks []func()
	wake  chan struct{}
	most  int
}

func (l *taskLoop) post(f func()) {
	l.mu.Lock()
	l.tasks = append(l.tasks, f)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *taskLoop) run() {
	for range l.wake {
		l.mu.Lock()
		tasks := l.tasks
		l.tasks = nil
		l.mu.Unlock()
		for i, f := range tasks {
			if i%1000 == 0 {
				l.most = max(l.most, runtime.NumGoroutine())
			}
			f()
		}
	}
}

// BenchmarkClear ends 200,000 users at once, whose connections are on a loop, and reports how many goroutines that takes.
func BenchmarkClear(b *testing.B) {
	const users = 200_000
	for b.Loop() {
		b.StopTimer()
		m := newManager(b, usermgr.Config{HeartbeatTimeout: -1})
		l := &taskLoop{wake: make(chan struct{}, 1)}
		var running sync.WaitGroup
		running.Go(l.run)
		for i := range users {
			logOnAs(b, m, usermgr.Logon{UserID: fmt.Sprint("user ", i)}, loopLink{newLink(uint64(i)), l})
		}
		before := runtime.NumGoroutine()
		b.StartTimer()
		clearAll(b, m)
		b.StopTimer()
		close(l.wake)
		running.Wait()
		b.ReportMetric(float64(l.most-before), "goroutines")
		closeManager(b, m)
		b.StartTimer()
	}
}
