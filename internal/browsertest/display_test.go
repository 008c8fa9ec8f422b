package browsertest

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// holdDisplay is a shell's program. It runs the X server that its arguments say, until its standard input ends: when the test ends it, or when the
// process of the tests has ended, however that came.
const holdDisplay = `"$@" & trap '' INT; exec 3>&-; read -r _; kill $!; wait`

// newDisplay starts an X server that has no screen, and returns the name of its display. It ends with the test.
func newDisplay(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("Xvfb")
	if err != nil {
		testkit.LeaveOut(t, "there is no Xvfb, so that no tab can be hidden: install it (apt-get install xvfb)")
	}
	said, say := pipe(t)
	held, hold := pipe(t)
	var output testkit.Output
	cmd := exec.Command("sh", "-c", holdDisplay, "sh", path, "-displayfd", "3", "-nolisten", "tcp", "-screen", "0", "1024x768x24")
	cmd.Stdin, cmd.Stderr, cmd.ExtraFiles = held, &output, []*os.File{say}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hold.Close()
		_ = cmd.Wait() // with the code of the shell's wait
	})
	_ = say.Close()
	if err := said.SetReadDeadline(time.Now().Add(testkit.Patience)); err != nil {
		t.Fatal(err)
	}
	number, err := bufio.NewReader(said).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb has no display: %v\n%s", err, output.String())
	}
	return ":" + strings.TrimSpace(number)
}

// pipe returns a pipe, which is closed with the test.
func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
	return r, w
}

// windows starts a browser that has windows, and in which a tab behind another one is hidden as it is for a user, with one difference: it takes 2 s,
// and not 5 minutes, until its timers run once a minute. The browser ends with the test.
func windows(t *testing.T) context.Context {
	t.Helper()
	opts := append(options(t), chromedp.Env("DISPLAY="+newDisplay(t)), chromedp.Flag("ozone-platform", "x11"), chromedp.Flag("disable-gpu", true),
		chromedp.Flag("enable-features", "IntensiveWakeUpThrottling:grace_period_seconds/2"))
	for _, off := range []string{"headless", "disable-background-timer-throttling", "disable-renderer-backgrounding", "disable-backgrounding-occluded-windows"} {
		opts = append(opts, chromedp.Flag(off, false))
	}
	ctx, end, err := start(opts)
	t.Cleanup(end)
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

// hide opens another tab in the tab's window, in front of it.
func (p *tab) hide() {
	p.t.Helper()
	clicked := true
	p.run(chromedp.Evaluate[chromedp.Void]("void window.open('about:blank', '_blank', 'noopener')", func(e *runtime.EvaluateParams) { e.UserGesture = &clicked }))
	p.await("document.visibilityState === 'hidden'")
}
