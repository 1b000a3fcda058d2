package browser

import "github.com/stepwatch/stepwatch/steps/limit"

// The limits of what the script in the page returns. It counts before it returns anything. Scripts of a page may nest
// elements deeper than a parser does.
var (
	nodesLimit = limit.Define(limit.Limit{Subject: "web page in a browser", What: "the page", Unit: "nodes (elements and texts)", Most: 300_000,
		Setting: "limits.page_nodes"})
	levelsLimit = limit.Define(limit.Limit{Subject: "web page in a browser", What: "the page", Unit: "levels of nested elements", Most: 1000})
	textLimit   = limit.Define(limit.Limit{Subject: "web page in a browser", What: "the visible text of the page", Unit: "characters", Most: 10 << 20})
)

// LimitNodes sets how many nodes a document in a Snapshot may have; 0 is the default.
func (t *Tab) LimitNodes(most int64) { t.mostNodes = most }

func (t *Tab) nodes() limit.Limit { return nodesLimit.With(t.mostNodes) }
