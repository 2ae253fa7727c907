# Sourced by the runs beside real programs: installs what a list of pins names, once, into a cache. Wants `pins`, the folder of the lists,
# and `cache`.
patience=600 # seconds that one install may take

case $(uname -m) in
    x86_64) arch=x64 ;;
    aarch64) arch=arm64 ;;
    *) echo "no Node is packaged for $(uname -m)" >&2; exit 2 ;;
esac
# What node@22 installs by a script of its own, which npm may block: the lists name its package for either machine.
node_in=node_modules/node-linux-$arch/bin/node
# The same of agents' programs: what is run is what their launchers would run.
claude_in=node_modules/@anthropic-ai/claude-code-linux-$arch/claude
codex_in=node_modules/@openai/codex-linux-$arch/vendor/$(uname -m)-unknown-linux-musl/bin/codex
opencode_in=node_modules/opencode-linux-$arch/bin/opencode

# Runs the rest once per list of pins: a mark of what is installed lies beside it, and one program of it must be there.
once() { # folder, program, files with the pins, command…
    local mark=$cache/$1.pins program=$2 pinned
    pinned=$(sha256sum "${@:3:$#-3}" | cut -d' ' -f1)
    if [[ ! -x $program || ! -f $mark || $(<"$mark") != "$pinned" ]]; then
        echo "installing $1" >&2
        rm -f "$mark"
        "${@: -1}" "$1" >&2 || { echo "installing $1 failed" >&2; return 1; }
        [[ -x $program ]] || { echo "installing $1 brought no $program" >&2; return 1; }
        printf '%s\n' "$pinned" >"$mark"
    fi
}
npm_install() { # folder
    mkdir -p "$cache/$1"
    cp "$pins/$1/package.json" "$pins/$1/package-lock.json" "$cache/$1/"
    timeout $patience npm ci --prefix "$cache/$1" --ignore-scripts --no-audit --no-fund --loglevel=error
}
pip_install() { # folder
    python3 -m venv --clear "$cache/$1"
    # The list of pins is complete: nothing is left to resolve.
    timeout $patience "$cache/$1/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$pins/$1.txt"
}
