//go:build browser

package e2e

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"moldau.dev/services/test/testcluster"
)

//go:embed testdata/tail.html
var tailPage []byte

// TestBrowserTailsTopic opens a plain page in headless Chromium. The page comes
// from another origin than the gateway, live-tails a topic with nothing but
// fetch(), and must show the records that are produced while it looks.
func TestBrowserTailsTopic(t *testing.T) {
	browser := browserPath(t)
	site := newTailSite()
	server := httptest.NewServer(site.handler())
	t.Cleanup(server.Close)
	c := testcluster.Start(t, testcluster.AllowOrigin(server.URL))
	c.CreateTopic(t, "river", 1, keepForever)
	events := eventsOf(accessLog(t))[:20]
	grpcDoor{c}.produce(t, "river", eventsOf([][]byte{[]byte("from before the page looked")}))

	query := url.Values{"server": {c.HTTP()}, "topic": {"river"}, "count": {fmt.Sprint(len(events))}}
	dom, ended := startBrowser(t, browser, server.URL+"/?"+query.Encode())
	select {
	case <-site.started:
		grpcDoor{c}.produce(t, "river", events)
	case <-site.done: // the page has failed; its DOM says why
	case err := <-ended:
		t.Fatalf("the browser ended before the page read: %v", err)
	}
	if err := <-ended; err != nil {
		t.Fatalf("browser: %v", err)
	}
	requireShown(t, dom.String(), events)
}

func requireShown(t *testing.T, dom string, events []event) {
	t.Helper()
	if !strings.Contains(dom, `<pre id="status">done</pre>`) {
		t.Fatalf("the page did not end well:\n%s", dom)
	}
	if strings.Contains(dom, "from before the page looked") {
		t.Error("a tail from the end shows a record from before")
	}
	rest := dom
	for i, e := range events {
		_, after, found := strings.Cut(rest, "<li>")
		text, _, _ := strings.Cut(after, "</li>")
		if !found || html.UnescapeString(text) != string(e.value) {
			t.Fatalf("record %d: the page shows %q, want %q", i, text, e.value)
		}
		rest = after
	}
}

func browserPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium on this machine; Debian's package is called chromium")
	return ""
}

// startBrowser opens the page and, once it has loaded, ends with its DOM.
func startBrowser(t *testing.T, path, page string) (dom *bytes.Buffer, ended <-chan error) {
	t.Helper()
	dom = new(bytes.Buffer)
	profile := t.TempDir()
	cmd := exec.CommandContext(testcluster.Context(t), path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+profile, "--dump-dom", page)
	cmd.Stdout = dom
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	done := make(chan error, 1)
	gone := make(chan struct{})
	go func() {
		done <- cmd.Wait()
		close(gone)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its helpers are of its group
		<-gone
	})
	return dom, done
}

// tailSite serves the page and hears from it.
type tailSite struct {
	started, done         chan struct{}
	startedOnce, doneOnce sync.Once
}

func newTailSite() *tailSite {
	return &tailSite{started: make(chan struct{}), done: make(chan struct{})}
}

func (s *tailSite) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(tailPage)
	})
	mux.HandleFunc("POST /started", func(http.ResponseWriter, *http.Request) { s.startedOnce.Do(func() { close(s.started) }) })
	mux.HandleFunc("POST /done", func(http.ResponseWriter, *http.Request) { s.doneOnce.Do(func() { close(s.done) }) })
	mux.HandleFunc("GET /hold", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-s.done:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
