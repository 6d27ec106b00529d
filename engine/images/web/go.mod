module sorairo/engine/images/web

go 1.26.0
