# SPDX-License-Identifier: BSD-2-Clause
# Completion for bash. What there is to complete, the program says itself: its own help is read.

_bufscope_commands()
{
	bufscope --help 2>/dev/null | sed -n 's/^  bufscope \([a-z][a-z]*\) .*/\1/p; s/^  bufscope \([a-z][a-z]*\)$/\1/p'
}

_bufscope_options()
{
	bufscope "$1" --help 2>/dev/null |
		sed -n 's/^ \{2,6\}\(-[^- ,=]\)\?,\? *\(--[a-z-]*\)\(\[\?=\)\?.*/\1 \2\3/p' | sed 's/\[=/=/'
}

# The words of "--option=one|two" and "--option=one|two|...".
_bufscope_values()
{
	bufscope "$1" --help 2>/dev/null | sed -n "s/^.*$2=\([a-z0-9]*|[a-z0-9|]*\).*/\1/p" | tr '|' ' '
}

_bufscope()
{
	local cur prev command i
	COMPREPLY=()
	cur=${COMP_WORDS[COMP_CWORD]}
	prev=${COMP_WORDS[COMP_CWORD - 1]}
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$(_bufscope_commands) --help --version" -- "$cur")
		return
	fi
	command=${COMP_WORDS[1]}
	# Behind "--" it is somebody else's command line.
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == -- ]]; then
			if declare -F _command_offset >/dev/null; then
				_command_offset $((i + 1))
			else
				mapfile -t COMPREPLY < <(compgen -c -f -- "$cur")
			fi
			return
		fi
	done
	if [[ $cur == = || $prev == = ]]; then
		[[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD - 2]} || cur=
	fi
	case $prev in
	-p | --pid)
		mapfile -t COMPREPLY < <(compgen -W "$(cd /proc && printf '%s ' [0-9]*)" -- "$cur")
		return
		;;
	-o | --output | --events | --core | --sysroot | --socket)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--run-as | --user)
		mapfile -t COMPREPLY < <(compgen -u -- "$cur")
		return
		;;
	--*)
		mapfile -t COMPREPLY < <(compgen -W "$(_bufscope_values "$command" "$prev")" -- "$cur")
		((${#COMPREPLY[@]} == 0)) || return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_bufscope_options "$command")" -- "$cur")
		[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace 2>/dev/null
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -o filenames -F _bufscope bufscope
