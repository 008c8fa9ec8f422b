package admin

import (
	"compress/gzip"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall"
)

// The page is no more than this, as it stands and as a browser gets it.
const maxAssets, maxSent = 40 << 10, 16 << 10

func TestTheFilesOfThePage(t *testing.T) {
	s := newStand(t, rollcall.Config{}, nil)
	sum, sent := 0, 0
	for path, file := range assets() {
		got := s.ask("GET", path, "")
		if got.status != 200 || got.body != string(file.text) || got.header.Get("Content-Type") != file.kind {
			t.Errorf("%q is answered %d, as %s", path, got.status, got.header.Get("Content-Type"))
		}
		wantHeaders(t, path, got.header, "no-cache")
		if again := s.ask("GET", path, "", "If-None-Match: "+got.header.Get("ETag")); again.status != 304 || again.body != "" {
			t.Errorf("%q is answered %d again", path, again.status)
		}
		head := httptest.NewRequest("HEAD", "http://admin.test/"+path, nil) // as curl -I asks, without a header of ours
		if got := s.serve(head); got.status != 200 || got.header.Get("ETag") == "" {
			t.Errorf("HEAD %q is answered %d: %s", path, got.status, got.body)
		}
		if got := s.ask("POST", path, "{}"); got.status != 405 {
			t.Errorf("POST %q is answered %d", path, got.status)
		}
		packed := s.ask("GET", path, "", "Accept-Encoding: gzip")
		if z, err := gzip.NewReader(strings.NewReader(packed.body)); err != nil || packed.header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%q is not compressed: %v", path, err)
		} else if text, err := io.ReadAll(z); err != nil || string(text) != got.body {
			t.Errorf("%q is not the same compressed: %v", path, err)
		}
		sent += len(packed.body)
		s.may = None
		if got := s.ask("GET", path, ""); got.status != 403 {
			t.Errorf("%q is answered %d without a permission", path, got.status)
		}
		s.may = Act
		sum += len(file.text)
	}
	t.Logf("%d bytes, of which %d are sent", sum, sent)
	if sum > maxAssets || sent > maxSent {
		t.Errorf("the files have %d bytes, and %d are sent, more than %d and %d", sum, sent, maxAssets, maxSent)
	}
	if got := s.ask("GET", "page/app.js", ""); got.status != 404 {
		t.Errorf("another path is answered %d", got.status)
	}
}

// The page makes no HTML from text, names no other host, and has neither scripts nor styles in the HTML, which its policy forbids.
func TestThePageIsPlain(t *testing.T) {
	for path, file := range assets() {
		text := strings.ReplaceAll(string(file.text), "http://www.w3.org/2000/svg", "")
		for _, word := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "http://", "https://", " style=", "<style",
			" onclick=", "javascript:", "localStorage", "sessionStorage", "document.cookie"} {
			if strings.Contains(text, word) {
				t.Errorf("%q has %s", path, word)
			}
		}
	}
}
