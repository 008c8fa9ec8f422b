package admin

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
)

// pageFiles are the page, as they stand: there is no build step.
//
//go:embed page
var pageFiles embed.FS

// asset is a file of the page.
type asset struct {
	text      []byte
	packed    []byte // by gzip
	kind, tag string
}

// assets returns the files of the page, by path.
var assets = sync.OnceValue(loadAssets)

func loadAssets() map[string]asset {
	all := make(map[string]asset)
	for path, file := range map[string]struct{ name, kind string }{
		"":          {"index.html", "text/html; charset=utf-8"},
		"app.js":    {"app.js", "text/javascript; charset=utf-8"},
		"style.css": {"style.css", "text/css; charset=utf-8"},
		"icon.svg":  {"icon.svg", "image/svg+xml"},
	} {
		text, err := pageFiles.ReadFile("page/" + file.name)
		if err != nil {
			panic(err) // it is in the program
		}
		sum := sha256.Sum256(text)
		var packed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression) // the level is valid
		_, _ = z.Write(text)
		_ = z.Close()
		all[path] = asset{text, packed.Bytes(), file.kind, `W/"` + hex.EncodeToString(sum[:8]) + `"`}
	}
	return all
}

// page answers with a file of the page.
func (a *Admin) page(c *call, path string) {
	file, ok := assets()[path]
	if !ok {
		c.fail(http.StatusNotFound, "there is nothing at this path")
		return
	}
	if !isRead(c.Request) {
		c.ResponseWriter.Header().Set("Allow", "GET, HEAD")
		c.fail(http.StatusMethodNotAllowed, "the method is not one of GET, HEAD")
		return
	}
	h := c.ResponseWriter.Header()
	h.Set("ETag", file.tag)
	h.Set("Vary", "Accept-Encoding")
	if c.Request.Header.Get("If-None-Match") == file.tag {
		c.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", file.kind)
	text := file.text
	if strings.Contains(c.Request.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		text = file.packed
	}
	_, _ = c.ResponseWriter.Write(text)
}
