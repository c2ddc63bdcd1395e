package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type logConfig struct {
	Format string     `koanf:"format"`
	Level  slog.Level `koanf:"level"`
}

func (c logConfig) Validate() error {
	if c.Format == "xml" {
		return errors.New("format: not xml")
	}
	return nil
}

type testConfig struct {
	NodeID    int32             `koanf:"node_id"`
	Retention time.Duration     `koanf:"retention"`
	Segment   Bytes             `koanf:"segment_bytes"`
	Password  Secret            `koanf:"password"`
	Peers     []string          `koanf:"peers"`
	Labels    map[string]string `koanf:"labels"`
	Log       logConfig         `koanf:"log"`
}

func testDefaults() testConfig {
	return testConfig{
		NodeID: 1, Retention: 7 * 24 * time.Hour, Segment: 1 << 30, Password: "hunter2",
		Peers: []string{"a:1"}, Labels: map[string]string{"zone": "x"}, Log: logConfig{Format: "text"},
	}
}

func TestLaterSourcesWin(t *testing.T) {
	got, err := Load(testDefaults(), Sources{
		File:  []byte("node_id: 2\nretention: 2d\nsegment_bytes: 64MiB\nlog:\n  format: json\n  level: debug\n"),
		Env:   []string{"HOME=/x", "MOLDAU_RETENTION=1d12h", "MOLDAU_PEERS=b:1,c:1", "MOLDAU_LOG_FORMAT=file"},
		Flags: map[string]any{"log.format": "flag"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := testDefaults()
	want.NodeID, want.Retention, want.Segment = 2, 36*time.Hour, 64<<20
	want.Peers = []string{"b:1", "c:1"}
	want.Log = logConfig{Format: "flag", Level: slog.LevelDebug}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDefaultsAloneLoadAsTheyAre(t *testing.T) {
	got, err := Load(testDefaults(), Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(testDefaults(), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c := Diff(got, testDefaults()); len(c) != 0 {
		t.Errorf("differs from itself: %v", c)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct {
		name string
		src  Sources
		want string
	}{
		{"file", Sources{File: []byte("log: {fromat: json}")}, `did you mean "log.format"`},
		{"far off", Sources{File: []byte("zzzzzzzzzzzzz: 1")}, `unknown key "zzzzzzzzzzzzz"`},
		{"env", Sources{Env: []string{"MOLDAU_NODEID=3"}}, `did you mean "MOLDAU_NODE_ID"`},
		{"flag", Sources{Flags: map[string]any{"retenton": "1d"}}, `did you mean "retention"`},
		{"section", Sources{File: []byte("log: 3")}, "log is a section"},
		{"duration", Sources{File: []byte("retention: 7")}, "without a unit"},
		{"size", Sources{File: []byte("segment_bytes: big")}, "not a size"},
		{"number", Sources{File: []byte("node_id: many")}, "node_id"},
		{"yaml", Sources{FileName: "m.yaml", File: []byte("a: [")}, "m.yaml"},
		{"validation", Sources{File: []byte("log: {format: xml}")}, "log: format: not xml"},
	} {
		_, err := Load(testDefaults(), c.src)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q in it", c.name, err, c.want)
		}
	}
}

func TestVariablesOfKubernetesServicesAreNoSettings(t *testing.T) {
	_, err := Load(testDefaults(), Sources{Env: []string{
		"MOLDAU_GATEWAY_SERVICE_HOST=10.0.0.1", "MOLDAU_PORT=tcp://10.0.0.1:9092",
		"MOLDAU_PORT_9092_TCP_ADDR=10.0.0.1", "MOLDAU_SERVICE_PORT_KAFKA=9092",
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestPrintedConfigLoadsAgainAndHidesSecrets(t *testing.T) {
	cfg := testDefaults()
	cfg.Log.Level = slog.LevelWarn
	var out strings.Builder
	if err := Print(&out, cfg); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("secret shown:\n%s", out.String())
	}
	again, err := Load(testDefaults(), Sources{File: []byte(out.String())})
	if err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	again.Password = cfg.Password
	if diff := cmp.Diff(cfg, again); diff != "" {
		t.Errorf("(-printed +loaded):\n%s", diff)
	}
	want := []Change{{"log.level", "INFO", "WARN"}}
	if diff := cmp.Diff(want, Diff(cfg, testDefaults())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSecretsHideInEveryFormat(t *testing.T) {
	for _, verb := range []string{"%v", "%s", "%+v", "%#v", "%q"} {
		if got := fmt.Sprintf(verb, struct{ S Secret }{"hunter2"}); strings.Contains(got, "hunter2") {
			t.Errorf("%s shows %s", verb, got)
		}
	}
}

func TestUnitsRoundTrip(t *testing.T) {
	for text, want := range map[string]Bytes{"512": 512, "1.5KiB": 1536, "64 MiB": 64 << 20, "10MB": 10e6, "-1": -1, "9007199254740993": 1<<53 + 1} {
		got, err := ParseBytes(text)
		if again, _ := ParseBytes(got.String()); err != nil || got != want || again != want {
			t.Errorf("ParseBytes(%q) = %d, %v; again %d", text, got, err, again)
		}
	}
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "1w1d1h": 193 * time.Hour, "-1d": -24 * time.Hour, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "0s": 0} {
		got, err := ParseDuration(text)
		if again, _ := ParseDuration(FormatDuration(got)); err != nil || got != want || again != want {
			t.Errorf("ParseDuration(%q) = %s, %v; again %s", text, got, err, again)
		}
	}
	for _, text := range []string{"", "d", "1.5d", "7 days", "99999999999d", "--1s"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %s", text, got)
		}
	}
	for _, text := range []string{"", "KiB", "1XB", "1e30", fmt.Sprint(uint64(math.MaxUint64))} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d", text, got)
		}
	}
}
