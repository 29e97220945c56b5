import { type Command, globalOptions, type OperandSpec, type OptionSpec, type OptionTable } from './command.ts'

/** A command as completion needs it. */
export interface CompletedCommand extends Pick<Command, 'operands' | 'options'> {
  readonly name: string
  readonly summary: string
}

/** A script for bash 4 and later; it works with and without the bash-completion package. */
export function formatBash(commands: readonly CompletedCommand[]): string {
  const cases = commands.map(({ name, options, operands }) =>
    [
      `    ${name})`,
      `      options='${optionWords(options).join(' ')}'`,
      `      valued='${valuedWords(options).join('|')}'`,
      `      operands='${operandWords(operands)}'`,
      `      ;;`,
    ].join('\n'),
  )
  return `# bash completion for windlass
_windlass_options_global='${optionWords(globalOptions).join(' ')}'
_windlass() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} command='' word index prefix=''
  if declare -F _get_comp_words_by_ref >/dev/null; then
    _get_comp_words_by_ref -n : -c current -p previous
  fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    case $word in
      ${valuedWords(globalOptions).join('|')}) ((index++)) ;;
      -*) ;;
      *) command=$word; break ;;
    esac
  done
  local options='' valued='' operands='@commands'
  case $command in
${cases.join('\n')}
  esac
  case $previous in
${choiceCases(commands)}
    --root) COMPREPLY=($(compgen -d -- "$current")); return ;;
  esac
  if [[ -n $valued && "|$valued|" == *"|$previous|"* ]]; then return; fi
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$options $_windlass_options_global" -- "$current"))
    return
  fi
  case $operands in
    @commands) COMPREPLY=($(compgen -W '${commands.map(({ name }) => name).join(' ')} help' -- "$current")) ;;
    @image) COMPREPLY=($(compgen -W "$(windlass images --names 2>/dev/null)" -- "$current")) ;;
    @image-directory) COMPREPLY=($(compgen -W "$(windlass images --names 2>/dev/null)" -- "$current") $(compgen -d -- "$current")) ;;
    @directory) COMPREPLY=($(compgen -d -- "$current")) ;;
    *) COMPREPLY=($(compgen -W "$operands" -- "$current")) ;;
  esac
  if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions "$current"; fi
}
complete -F _windlass windlass
`
}

/** A script for zsh's completion system. */
export function formatZsh(commands: readonly CompletedCommand[]): string {
  const cases = commands.map(({ name, options, operands }) => {
    const specs = [...zshOptions(options), ...operands.map(zshOperand)]
    return `        ${name}) _arguments $global ${specs.map(spec => `\\\n          ${quote(spec)}`).join(' ')} ;;`
  })
  return `#compdef windlass
_windlass_images() {
  local -a names
  names=(\${(f)"$(windlass images --names 2>/dev/null)"})
  compadd -a names
}
_windlass() {
  local context state state_descr line
  typeset -A opt_args
  local -a commands global
  commands=(
${commands.map(({ name, summary }) => `    ${quote(`${name}:${summary}`)}`).join('\n')}
  )
  global=(
${zshOptions(globalOptions)
  .map(spec => `    ${quote(spec)}`)
  .join('\n')}
  )
  _arguments -C $global '1: :->command' '*:: :->operands'
  case $state in
    command) _describe command commands ;;
    operands)
      case $words[1] in
${cases.join('\n')}
      esac ;;
  esac
}
if [ "$funcstack[1]" = _windlass ]; then _windlass "$@"; else compdef _windlass windlass; fi
`
}

/** A script for fish. */
export function formatFish(commands: readonly CompletedCommand[]): string {
  const lines = ['# fish completion for windlass', 'complete -c windlass -f', ...fishOptions(globalOptions, '')]
  for (const { name, summary, options, operands } of commands) {
    const inside = ` -n '__fish_seen_subcommand_from ${name}'`
    lines.push(`complete -c windlass -n __fish_use_subcommand -a ${name} -d ${fishQuote(summary)}`)
    lines.push(...fishOptions(options, inside))
    const words = operandWords(operands)
    if (words.startsWith('@image'))
      lines.push(`complete -c windlass${inside} -a '(windlass images --names 2>/dev/null)'`)
    if (words.endsWith('directory')) lines.push(`complete -c windlass${inside} -a '(__fish_complete_directories)'`)
    if (words !== '' && !words.startsWith('@')) lines.push(`complete -c windlass${inside} -a ${fishQuote(words)}`)
  }
  return `${lines.join('\n')}\n`
}

function optionWords(table: OptionTable): string[] {
  return Object.entries(table).flatMap(([name, { short }]) => [
    `--${name}`,
    ...(short === undefined ? [] : [`-${short}`]),
  ])
}

function valuedWords(table: OptionTable): string[] {
  return optionWords(Object.fromEntries(Object.entries(table).filter(([, { type }]) => type !== 'boolean')))
}

/** `@image`, `@directory`, both, or the words themselves. Which operand the cursor is in is not counted. */
function operandWords(operands: readonly OperandSpec[]): string {
  const kinds = operands.map(({ complete }) => complete)
  const words = kinds.find(kind => typeof kind === 'object')
  if (typeof words === 'object') return words.join(' ')
  const places = ['image', 'directory'].filter(kind => kinds.some(known => known === kind))
  return places.length === 0 ? '' : `@${places.join('-')}`
}

function choiceCases(commands: readonly CompletedCommand[]): string {
  const tables: readonly OptionTable[] = [globalOptions, ...commands.map(({ options }) => options)]
  return tables
    .flatMap(table => Object.entries(table))
    .filter(([, { choices }]) => choices !== undefined)
    .map(
      ([name, { choices = [] }]) =>
        `    --${name}) COMPREPLY=($(compgen -W '${choices.join(' ')}' -- "$current")); return ;;`,
    )
    .join('\n')
}

function zshOptions(table: OptionTable): string[] {
  return Object.entries(table).flatMap(([name, spec]) => {
    const names = [`--${name}`, ...(spec.short === undefined ? [] : [`-${spec.short}`])]
    // With =, zsh knows both `--root DIR` and `--root=DIR`.
    const equals = spec.type === 'boolean' ? '' : '='
    return names.map(
      text =>
        `${text}${text.startsWith('--') ? equals : ''}[${spec.summary.replace(/[[\]:]/g, '')}]${zshValue(name, spec)}`,
    )
  })
}

function zshValue(name: string, { type, choices, value }: OptionSpec): string {
  if (type === 'boolean') return ''
  if (choices !== undefined) return `:${name}:(${choices.join(' ')})`
  return value === 'DIR' ? `:${name}:_directories` : `:${name}:`
}

function zshOperand({ name, many, optional, complete }: OperandSpec): string {
  const action = complete === 'image' ? '_windlass_images' : complete === 'directory' ? '_directories' : ''
  const words = typeof complete === 'object' ? `(${complete.join(' ')})` : action
  const label = name.replace(/[[\]:|]/g, ' ')
  return `${many ? '*' : ''}:${optional ? ':' : ''}${label}:${words}`
}

function fishOptions(table: OptionTable, inside: string): string[] {
  return Object.entries(table).map(([name, { short, type, choices, value, summary }]) => {
    const letter = short === undefined ? '' : ` -s ${short}`
    const values =
      choices !== undefined
        ? ` -xa '${choices.join(' ')}'`
        : value === 'DIR'
          ? ` -xa '(__fish_complete_directories)'`
          : ' -x'
    return `complete -c windlass${inside} -l ${name}${letter}${type === 'boolean' ? '' : values} -d ${fishQuote(summary)}`
  })
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function fishQuote(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`
}
