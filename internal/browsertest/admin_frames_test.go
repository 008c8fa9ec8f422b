package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-go/rollcall"
	"github.com/rollcall-go/rollcall/internal/testkit"
	"github.com/rollcall-go/rollcall/protocol"
	"github.com/rollcall-go/rollcall/rollcalltest"
	"github.com/rollcall-go/rollcall/usermgr"
)

// countFrames counts the browser's frames for some milliseconds, and the tasks that held it up for 50 ms or more.
const countFrames = `new Promise((done) => {
	const between = [], tasks = []
	new PerformanceObserver((l) => tasks.push(...l.getEntries().map((e) => e.duration))).observe({ type: 'longtask' })
	const began = performance.now()
	let last = 0
	const frame = (now) => {
		if (last) between.push(now - last)
		last = now
		if (performance.now() - began < %d) return requestAnimationFrame(frame)
		between.sort((a, b) => a - b)
		const at = (share) => Math.round(10 * between[Math.floor(share * (between.length - 1))]) / 10
		done({ frames: Math.round(between.length / (performance.now() - began) * 10000) / 10, half: at(0.5), most: at(0.99), worst: at(1),
			longTasks: tasks.length, longest: Math.round(Math.max(0, ...tasks)) })
	}
	requestAnimationFrame(frame)
})`

// framesSeen is what countFrames has found: frames a second, the milliseconds between two of them, and long tasks.
type framesSeen struct{ Frames, Half, Most, Worst, LongTasks, Longest float64 }

// The list of events has frames while 10,000 events a second come. How many, and how many without events, is logged, for 10 s each where FRAMES is
// set; the test fails for no figure.
func TestFramesWhileEventsCome(t *testing.T) {
	browser(t)
	milliseconds := 300
	if os.Getenv("FRAMES") != "" {
		milliseconds = 10_000
	}
	s := rollcalltest.NewServer(t, rollcall.Config{Users: usermgr.Config{HeartbeatTimeout: -1}}, echo)
	address, _, _ := pages(t, s.Server, "")
	p, _ := openPage(t, address)
	p.click("nav a", "Events")
	p.says("Pause")
	measure := func(what string) {
		var load []byte
		var f framesSeen
		testkit.Eventually(t, "frames are counted", func() bool { // a machine that is busy may have none in so short a time
			load, _ = os.ReadFile("/proc/loadavg")
			if err := json.Unmarshal(value[json.RawMessage](p, fmt.Sprintf(countFrames, milliseconds)), &f); err != nil {
				t.Fatal(err)
			}
			return f.Frames > 0
		})
		t.Logf("%s: %+v; the machine's load before: %s", what, f, strings.TrimSpace(string(load)))
	}
	measure("no events")
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var told atomic.Int64
	all.Go(func() { // each logon, and each end, is an event that the page lists
		began := time.Now()
		ticks := time.NewTicker(5 * time.Millisecond)
		defer ticks.Stop()
		for i := 0; ctx.Err() == nil; {
			for ; i < int(time.Since(began).Seconds()*5000) && ctx.Err() == nil; i++ {
				logOnCrowd(s.Users, i).End(protocol.ClientClosed)
				told.Add(2)
			}
			<-ticks.C
		}
	})
	testkit.Eventually(t, "events come", func() bool { return value[bool](p, "document.querySelectorAll('#events li').length === 200") })
	before, began := told.Load(), time.Now()
	measure("10,000 events a second")
	t.Logf("%.0f events a second were told; the page says: %s", float64(told.Load()-before)/time.Since(began).Seconds(),
		value[string](p, "document.querySelector('main p').innerText"))
}
