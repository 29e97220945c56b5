import { catalogue, isFindingCode, languageOf } from '../../doctor/catalogue.ts'
import { isRefusalCode, type RefusalCode, refusals } from '../../doctor/rescue/refusal.ts'
import { errorTable, WindlassError } from '../../errors.ts'
import { suggest } from '../args.ts'
import { type Context, defineCommand } from '../command.ts'
import { writeJson, writeLine } from '../output.ts'

export const command = defineCommand({
  description:
    'Tells what the code of a finding of the doctor, of a refused rescue, or of an error, means, and what can be done.',
  operands: [
    { name: 'CODE', complete: [...Object.keys(catalogue), ...Object.keys(refusals), ...Object.keys(errorTable)] },
  ],
  options: {},
  examples: [
    { line: 'windlass explain DECOMPRESSOR_SPINS', does: 'What the doctor means by it.' },
    { line: 'windlass explain RESCUE_PIPE_SHARED', does: 'Why a rescue was refused, and what to do next.' },
    { line: 'windlass explain STALLED', does: 'What an error means.' },
  ],
  watched: false,
  async run(context, [text = '']) {
    const code = text.toUpperCase()
    if (isFindingCode(code)) explainFinding(context, code)
    else if (isRefusalCode(code)) explainRefusal(context, code)
    else if (Object.hasOwn(errorTable, code)) explainError(context, code as keyof typeof errorTable)
    else {
      const near = suggest(code, [...Object.keys(catalogue), ...Object.keys(refusals), ...Object.keys(errorTable)])
      throw new WindlassError('USAGE', `Cannot explain ${JSON.stringify(text)}: there is no such code${near}`)
    }
    return 0
  },
})

function explainFinding(context: Context, code: keyof typeof catalogue): void {
  const { area, severity, ...words } = catalogue[code]
  const { title, meaning, advice } = words[languageOf(context.env)]
  if (context.json) return writeJson(context, { code, area, severity, title, meaning, advice })
  writeLine(context, `${code}: ${title}`)
  writeLine(context, meaning)
  for (const text of advice) writeLine(context, `  → ${text}`)
}

const refusedWords = { en: 'a rescue was refused, and nothing was changed', zh: '救援被拒绝，没有作任何改动' } as const

function explainRefusal(context: Context, code: RefusalCode): void {
  const { meaning, next } = refusals[code][languageOf(context.env)]
  if (context.json) return writeJson(context, { code, meaning, next })
  writeLine(context, `${code}: ${refusedWords[languageOf(context.env)]}`)
  writeLine(context, meaning)
  writeLine(context, `  → ${next}`)
}

function explainError(context: Context, code: keyof typeof errorTable): void {
  const { exit, retryable, hint } = errorTable[code]
  if (context.json) return writeJson(context, { code, exit, retryable, hint })
  writeLine(
    context,
    `${code}: exit status ${exit}${retryable ? '; the same command may succeed when it is run again' : ''}`,
  )
  if (hint !== undefined) writeLine(context, `  → ${hint}`)
}
