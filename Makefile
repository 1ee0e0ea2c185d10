deps:        ## install what is missing of the build's packages (quick and silent when nothing is)
	@scripts/deps.sh build
.PHONY: deps
