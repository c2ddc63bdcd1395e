//go:build browser

package e2e

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	pb "moldau.dev/proto/gen/moldau/v1"
	"moldau.dev/services/test/testcluster"
)

//go:embed testdata/member.html
var memberPage []byte

// TestBrowserIsAMemberOfAGroup: a page in headless Chromium, with nothing but
// fetch(), shares six partitions with franz-go, a stub of gRPC and, where it is
// installed, kcat. Its tab is closed, and another one opened.
func TestBrowserIsAMemberOfAGroup(t *testing.T) {
	browser := browserPath(t)
	l := newLedger()
	site := httptest.NewServer(memberSite(l, "page"))
	t.Cleanup(site.Close)
	c := testcluster.Start(t, testcluster.AllowOrigin(site.URL))
	quickGroups(t, c)
	c.CreateTopic(t, "shared", sharedPartitions, keepForever)
	produced := make(chan int64)
	ctx, enough := context.WithCancel(testcluster.Context(t))
	defer enough()
	go func() { produced <- produceOn(ctx, l, pb.NewProduceServiceClient(c.Conn(t)), "shared") }()
	page := site.URL + "/?" + url.Values{"server": {c.HTTP()}, "group": {"mixed"}, "topic": {"shared"}}.Encode()

	tab := openTab(t, browser, page)
	l.until(t, "the page holds all", func() bool { return l.shares(1, sharedPartitions) })
	franz := kafkaMember(t, l, c, "franz-go", kgo.ServerSideBalancer(), kgo.Balancers(kgo.RangeBalancer()))
	stub := streamMember(t, l, grpcConsume(pb.NewConsumeServiceClient(c.Conn(t))))
	l.until(t, "three members share", func() bool { return l.shares(3, sharedPartitions) })
	tab() // as a tab that is closed
	l.gone("page")
	l.until(t, "two are left", func() bool { return l.shares(2, sharedPartitions) })
	if path, err := exec.LookPath("kcat"); err == nil {
		kill := kcatMember(t, l, path, c.KafkaAddr())
		l.until(t, "kcat has its share", func() bool { return l.shares(3, sharedPartitions) })
		kill()
		l.until(t, "kcat is gone", func() bool { return l.shares(2, sharedPartitions) })
	}
	openTab(t, browser, page)
	l.until(t, "another page has its share", func() bool { return l.shares(3, sharedPartitions) })
	franz.end()
	stub.end()
	l.until(t, "the page holds all", func() bool { return l.shares(1, sharedPartitions) })
	enough()
	each := <-produced
	l.until(t, fmt.Sprintf("the page has committed all %d", each), func() bool {
		for p := range int32(sharedPartitions) {
			if l.committed[p] < each || len(l.seen[p]) != int(each) {
				return false
			}
		}
		return true
	})
}

// memberSite serves the page and notes what it tells.
func memberSite(l *ledger, name string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(memberPage)
	})
	mux.HandleFunc("POST /told", func(_ http.ResponseWriter, r *http.Request) {
		var told struct {
			Holds     *[]int32
			Partition int32
			Took      []int64
			Committed int64
			Fault     string
		}
		if err := json.NewDecoder(r.Body).Decode(&told); err != nil || told.Fault != "" {
			l.fault("%s: %s, %v", name, told.Fault, err)
		}
		if told.Holds != nil {
			l.holds(name, *told.Holds)
		}
		for _, offset := range told.Took {
			l.takes(name, told.Partition, offset)
		}
		l.commits(told.Partition, told.Committed)
	})
	return mux
}

// openTab opens a page that never ends by itself; the returned function kills it
// as a crash would.
func openTab(t *testing.T, path, page string) func() {
	t.Helper()
	cmd := exec.CommandContext(testcluster.Context(t), path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--remote-debugging-port=0", "--user-data-dir="+t.TempDir(), page)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(gone)
	}()
	kill := func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its helpers are of its group
		<-gone
	}
	t.Cleanup(kill)
	return kill
}

var (
	kcatRebalance = regexp.MustCompile(`^% Group \S+ rebalanced .*: (assigned|revoked): (.*)`)
	kcatPartition = regexp.MustCompile(`\[(\d+)\]`)
)

// kcatMember runs kcat, which commits only what it loses. The returned function
// kills it: interrupted, kcat drops a record that it then commits.
func kcatMember(t *testing.T, l *ledger, path, broker string) func() {
	t.Helper()
	cmd := exec.CommandContext(testcluster.Context(t), path, "-b", broker, "-G", "mixed", "-u", "-f", "%p %o\n",
		"-X", "heartbeat.interval.ms=200", "-X", "auto.commit.interval.ms=600000", "-X", "session.timeout.ms=6000", "-X", "auto.offset.reset=earliest", "shared")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{}, 2)
	lines := func(r io.Reader, each func(string)) {
		for s := bufio.NewScanner(r); s.Scan(); {
			each(s.Text())
		}
		read <- struct{}{}
	}
	go lines(out, func(line string) {
		var p int32
		var offset int64
		if _, err := fmt.Sscan(line, &p, &offset); err != nil {
			l.fault("kcat: %q: %v", line, err)
		}
		l.takes("kcat", p, offset)
	})
	go lines(said, func(line string) {
		what := kcatRebalance.FindStringSubmatch(line)
		if what == nil {
			return
		}
		var partitions []int32
		for _, p := range kcatPartition.FindAllStringSubmatch(what[2], -1) {
			n, _ := strconv.Atoi(p[1]) // digits
			partitions = append(partitions, int32(n))
		}
		if strings.HasPrefix(what[1], "assigned") {
			l.gets("kcat", partitions)
		} else {
			l.loses("kcat", partitions)
		}
	})
	ended := false
	kill := func() {
		if ended {
			return
		}
		ended = true
		_ = cmd.Process.Kill()
		<-read
		<-read
		_ = cmd.Wait() // it was killed
		l.gone("kcat")
	}
	t.Cleanup(kill)
	return kill
}
