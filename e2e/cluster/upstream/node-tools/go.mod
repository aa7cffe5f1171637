// The one small image that the node itself needs: pod sandboxes and volume helpers.
module ambit.dev/e2e/upstream/node-tools

go 1.26.0
