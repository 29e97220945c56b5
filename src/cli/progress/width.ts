import { stripVTControlCharacters } from 'node:util'

/** The columns that a line takes. Beyond ASCII two are reckoned, as East Asian terminals show arrows and Greek letters. */
export function textWidth(text: string): number {
  let width = 0
  for (const character of stripVTControlCharacters(text)) width += (character.codePointAt(0) ?? 0) < 0x7f ? 1 : 2
  return width
}
