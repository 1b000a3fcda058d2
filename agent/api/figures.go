package api

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/stepwatch/stepwatch/agent/history"
)

// The bounds of the figures of a scenario.
const (
	beatsDefault  = 60
	figuresRange  = 24 * time.Hour // unless asked otherwise
	pointsDefault = 100            // of a series
	pointsMost    = 500
	figuresMost   = 50_000 // points of all series together
	quantilesMost = 10
)

var figureRoutes = []route{
	{http.MethodGet, "/api/scenarios/{id}/heartbeats", []string{"limit"}, getHeartbeats},
	{http.MethodGet, "/api/scenarios/{id}/uptime", []string{"since", "until"}, getUptime},
	{http.MethodGet, "/api/scenarios/{id}/durations", []string{"since", "until", "bucket", "quantile", "step"}, getDurations},
}

// Heartbeats is the answer to GET /api/scenarios/{id}/heartbeats.
type Heartbeats struct {
	Heartbeats []history.Beat `json:"heartbeats"` // the oldest first
}

func getHeartbeats(s *Sources, r *request) (any, error) {
	kept, id, err := s.historyOf(r)
	if err != nil {
		return nil, err
	}
	n := beatsDefault
	if text, err := r.single("limit"); err != nil {
		return nil, err
	} else if text != "" {
		if n, err = strconv.Atoi(text); err != nil || n < 1 || n > history.BeatsMost {
			return nil, bad("limit", "limit is %q: it must be a number from 1 to %d", shorten(text), history.BeatsMost)
		}
	}
	all, err := kept.Heartbeats(r.Context(), n, id)
	if err != nil {
		return nil, err
	}
	return Heartbeats{append([]history.Beat{}, all[id]...)}, nil
}

// Uptime is the answer to GET /api/scenarios/{id}/uptime.
type Uptime struct {
	Since   time.Time      `json:"since"`
	Until   time.Time      `json:"until"`
	Counted history.Range  `json:"counted"` // in which runs were counted: the range, or the whole hours or days that contain it
	Runs    history.Counts `json:"runs"`
	Uptime  *float64       `json:"uptime"` // the share of OK and WARNING in the runs that proved anything; null if none did
}

func getUptime(s *Sources, r *request) (any, error) {
	kept, id, err := s.historyOf(r)
	if err != nil {
		return nil, err
	}
	since, until, err := r.span(figuresRange)
	if err != nil {
		return nil, err
	}
	all, counted, err := kept.Uptime(r.Context(), since, until, id)
	if err != nil {
		return nil, err
	}
	answer := Uptime{Since: since, Until: until, Counted: counted, Runs: all[id]}
	if share, known := answer.Runs.Uptime(); known {
		answer.Uptime = &share
	}
	return answer, nil
}

// Durations is the answer to GET /api/scenarios/{id}/durations.
type Durations struct {
	Since     time.Time        `json:"since"`
	Until     time.Time        `json:"until"`
	Bucket    float64          `json:"bucket_seconds"` // at least what was asked for
	Quantiles []float64        `json:"quantiles"`      // of which the points have the values, in this order
	Series    []history.Series `json:"series"`
}

func getDurations(s *Sources, r *request) (any, error) {
	kept, id, err := s.historyOf(r)
	if err != nil {
		return nil, err
	}
	since, until, err := r.span(figuresRange)
	if err != nil {
		return nil, err
	}
	bucket := until.Sub(since) / pointsDefault
	text, err := r.single("bucket")
	if err != nil {
		return nil, err
	}
	if text != "" {
		if bucket, err = time.ParseDuration(text); err != nil || bucket <= 0 {
			return nil, bad("bucket", "bucket is %q: write a duration such as 15m or 1h", shorten(text))
		}
	}
	bucket = max(bucket, until.Sub(since)/pointsMost)
	quantiles := []float64{0.5, 0.95}
	if given := r.query["quantile"]; len(given) > 0 {
		if len(given) > quantilesMost {
			return nil, bad("quantile", "quantile is given %d times, the limit is %d", len(given), quantilesMost)
		}
		quantiles = quantiles[:0]
		for _, text := range given {
			q, err := strconv.ParseFloat(text, 64)
			if err != nil || !(q >= 0 && q <= 1) {
				return nil, bad("quantile", "quantile is %q: it must be a number from 0 to 1, such as 0.95", shorten(text))
			}
			quantiles = append(quantiles, q)
		}
	}
	series, width, err := kept.Percentiles(r.Context(), id, since, until, bucket, quantiles)
	if err != nil {
		return nil, err
	}
	if wanted := r.query["step"]; len(wanted) > 0 {
		series = slices.DeleteFunc(series, func(one history.Series) bool { return !slices.Contains(wanted, one.Step) })
	}
	points := 0
	for _, one := range series {
		points += len(one.Points)
	}
	if points > figuresMost {
		return nil, bad("bucket", "the answer would have %d points, more than %d: ask for a longer bucket, a shorter time, or single steps (step)", points, figuresMost)
	}
	return Durations{since, until, width.Seconds(), quantiles, append([]history.Series{}, series...)}, nil
}

// historyOf returns the history, and the id of the loaded scenario that is asked about.
func (s *Sources) historyOf(r *request) (History, string, error) {
	kept, err := s.history()
	if err != nil {
		return nil, "", err
	}
	scenario, err := s.scenario(r.PathValue("id"))
	return kept, scenario.ID, err
}
