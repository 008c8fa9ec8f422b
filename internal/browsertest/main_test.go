// Package browsertest drives a real browser, Chromium, against servers of Rollcall. It is a module of its own, because the library that
// speaks to the browser is of no use to anybody else.
//
// Most tests need no window, without which every tab counts as visible. Those of hidden tabs have a browser with windows, on a display of
// their own.
package browsertest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// chromium is the browser of all tests, which have tabs of their own.
var chromium struct {
	once sync.Once
	ctx  context.Context
	end  func()
	err  error
}

// servers has the certificate of all servers, for wss://.
var servers struct {
	once sync.Once
	cert tls.Certificate
}

func TestMain(m *testing.M) {
	code := m.Run()
	if chromium.end != nil {
		chromium.end()
	}
	os.Exit(code)
}

// programs are the names that the browser has on different systems. The Makefile looks for the same.
var programs = []string{"chromium", "chromium-browser", "google-chrome"}

// browser returns the browser, or leaves the test out where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	opts := options(t)
	chromium.once.Do(func() { chromium.ctx, chromium.end, chromium.err = start(opts) })
	if chromium.err != nil {
		t.Fatal(chromium.err)
	}
	return chromium.ctx
}

// options returns those of a browser, or leaves the test out where there is none. As root, as in a container, it runs only without its sandbox.
// It accepts the tests' certificate by its key, and checks all others.
func options(t *testing.T) []chromedp.ExecAllocatorOption {
	t.Helper()
	path := ""
	for _, name := range programs {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		testkit.LeaveOut(t, "there is no chromium: install it (apt-get install chromium)")
	}
	servers.once.Do(func() { servers.cert = testca.New(t).Issue("a server of the tests") })
	key := sha256.Sum256(servers.cert.Leaf.RawSubjectPublicKeyInfo)
	return append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(testkit.Patience),
		chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(key[:])), chromedp.Flag("disable-dev-shm-usage", true))
}

// start starts a browser. end ends it, also where it has not started well.
func start(opts []chromedp.ExecAllocatorOption) (ctx context.Context, end func(), err error) {
	ctx, endProcess := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, endFirst := chromedp.NewContext(ctx)
	return ctx, func() { endFirst(); endProcess() }, chromedp.Do(ctx, chromedp.Navigate("about:blank"))
}

// tab is one of the browser's.
type tab struct {
	t   *testing.T
	ctx context.Context
	end func() // closes it
}

// open opens a page in a tab of its own. Should the browser hang, this test fails, and the others go on.
func open(t *testing.T, browser context.Context, url string) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser)
	t.Cleanup(end)
	ctx, over := context.WithTimeout(ctx, 3*testkit.Patience)
	t.Cleanup(over)
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatalf("the browser opens no tab: %v", err)
	}
	return &tab{t, ctx, end}
}

func (p *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// do runs JavaScript.
func (p *tab) do(format string, args ...any) {
	p.t.Helper()
	p.run(chromedp.Evaluate[chromedp.Void](fmt.Sprintf(format, args...)))
}

// value returns what JavaScript comes to, or what a promise of it does.
func value[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// await waits until an expression of JavaScript is true.
func (p *tab) await(expression string) {
	p.t.Helper()
	p.awaitOr(expression, "document.body.innerText")
}

// awaitOr is await, with an expression that says more where it fails.
func (p *tab) awaitOr(expression, says string) {
	p.t.Helper()
	var last any
	for end := time.Now().Add(testkit.Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		ok, err := chromedp.Run(p.ctx, chromedp.Evaluate[bool](fmt.Sprintf("Boolean(%s)", expression)))
		if err != nil {
			last = err
			continue
		}
		if ok {
			return
		}
	}
	text, _ := chromedp.Run(p.ctx, chromedp.Evaluate[string](fmt.Sprintf("String(%s)", says)))
	p.t.Fatalf("not in time: %s (%v); the page says:\n%s", expression, last, text)
}

// typing is text typed into an element after a click on it. Only the tab in front has the keyboard.
func (p *tab) typing(selector, text string) {
	p.t.Helper()
	p.bringToFront()
	p.run(chromedp.Click(selector), chromedp.SendKeys(selector, text))
}

func (p *tab) bringToFront() {
	p.t.Helper()
	p.run(func(ctx context.Context, t *chromedp.Target) (v chromedp.Void, err error) {
		_, err = cdp.Call(ctx, t, page.BringToFront, cdp.Empty{})
		return v, err
	})
}

// crash ends the process of the tab's page. The browser does not answer.
func (p *tab) crash() {
	p.t.Helper()
	ctx, end := context.WithCancel(p.ctx)
	var over sync.WaitGroup
	over.Go(func() {
		_, _ = chromedp.Run(ctx, func(ctx context.Context, t *chromedp.Target) (cdp.Empty, error) {
			return cdp.Call(ctx, t, page.Crash, cdp.Empty{})
		})
	})
	p.t.Cleanup(func() { end(); over.Wait() })
}

// keep writes a picture of the tab, where SCREENSHOTS names a folder: into a folder with pictures those that it has, anew.
func (p *tab) keep(name string, width, height int64) {
	p.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" || !wanted(dir, name+".png") {
		return
	}
	p.run(chromedp.EmulateViewport(width, height), chromedp.Sleep(300*time.Millisecond))
	png, err := chromedp.Run(p.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/"+name+".png", png, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// pictures has those that the folder of SCREENSHOTS had at first.
var pictures = sync.OnceValue(func() []string {
	all, _ := filepath.Glob(os.Getenv("SCREENSHOTS") + "/*.png") // the pattern is valid
	return all
})

func wanted(dir, name string) bool {
	return len(pictures()) == 0 || slices.Contains(pictures(), filepath.Join(dir, name))
}

// narrow makes the window as narrow as a phone.
func (p *tab) narrow() {
	p.t.Helper()
	p.run(chromedp.EmulateViewport(375, 812))
}
