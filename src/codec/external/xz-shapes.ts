import { damaged, type Shape } from './shape.ts'

/** `xz -9 --check=crc32` of `regular()`: Node has no encoder. */
const regularXz = [
  '/Td6WFoAAAFpIt42AgAhARwAAAAQz1jM///bAlhdABgCi2bZ/x5aweJ9E7k6518Wj0VH1iLGoL/Qw2PF7icrRckwdmBaQK/Ti41cPhZyMnsQw2',
  'MKT27m9ST4hIjsdKB9fbj82rAuILGOLmtmsw4rIbi9LCVMZmHZ8rO6vPwU+3X5qak8rjhNAnvKx0NtI1M9CSU3SCAWffGZ1YPze79oIFepEREa',
  '5wF0Qo8eAyhL4SJeszGtq5wHioszqb6ClX9WQbdMMrMkMBVLQn1eGenGrqtdc9216yfCeD3fWl72nTCXgH0JeJYnX6TpHXLJ8DRL5gizhXfMTr',
  'vh1kcA1AZulZYDNs4PqbXR7sZ6OP9OCfJCZkn7a9oqppQj+b9iGhYpzo6JL9N4+FibTTuOEK6oI8k5GxjSadZNinIsGVko+1Wde1goVTh+4srw',
  'QbiMSFX05xfvgy+/9feiJRdTf9qibRI7O+lmUli+6XasWeTlWwUI+cfarfz7Uit0zR5bIEL53VM9+ClkCTuAyyps37U78MS9Ll+qDz5LZkKQEw',
  '7/EJP4cXhZ+AvN/5UoRg+p/Hze+5owLlbAj4Xzg4HAZcQlU/j1kTYxBaWw7m/BcE1HDNGREaqtYB26zrEnGFxZhulmUli+6XasWeTlWwUI+cfa',
  'rfz7Uit0zR5bIEL53VM9+ClkCTuAyyps37U78MS9Ll+qDz5LZkKQEw7/EJP4cXhZ+AvN/5UoRg+p/Hze+5owLlbAj4Xzg4HAZcQlU/j1kTYxBa',
  'Ww7m/BcE1HDNGREaqtYB26zrEnGFxZhulmUli+6XasWeTlWwUI+cfarfz7Uit0zR5artwnpYOuiQAnAOxzU6f9vq58MRqft40xbnCepyNf7CjL',
  'hdGVmIp+KpHyJ3UrEeuRAAAAAAA0uY3rAAGdBebcjgHTCc0PPjANiwIAAAAAAVla',
].join('')

/** `xz -6` of `squares()`, with CRC64. */
const squaresXz = [
  '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4BKEB5RdABgIAoZJLmgJ4dxzE4T2Wp2/M67UpJBzp+QLe6peou252kar/MBu19ZQs0j6Da37DcgCpb',
  'VjQsTHEq/RalR2A/LK3k//l+kKasEvVxgL+TLnpCCVu/O/EsvbS5/Mp+QDhPpycwtfjtMD/tUcFQsfAupg6ZUtHDIfSsi5fTMgiESOoF1hkS4V',
  'd6aGlsoAQ1443HJLaFAfjvZHOFC37tIPWOqsAylSDdlTk+BuKXsACC4iUU7Gjs7RbtdkdRwfUcH96zwe39cccoVx8elvPQKSdfnik5dwSzWMbp',
  'zB3HTuHHURmt13yL5Bf8BLff+VkWinDrrYgFH+UP/2xxCPZ9rcRz3ptcNkwUB6giqvCP/wP4Pfz1+oscuvfB7I+Nf8adJ3b+xgWaWI1KhH8Olf',
  'ZMnYnuDwtkAazKu8MPBntXaA5uBeyErS5oKxpGd8wQthQn2BrbXoG7n3kaB90IUDo0xuCUUesUxULChDfAtC8MlQClzHBkN2mWGVapdR2zX3d7',
  'eZTMmVa6KT1IXEQRk0LdpCOFmt0OL6QZDD5suLT3wBQy5Lmz8QF9DHcUaULZPzx1ZTZ7QSFCUn6yi3fi7skPGtkDxd+CddOO8szCLnNSjHspzk',
  '7flGpdQaYJkaOQAnV020nBDT+MwKYqfL7FkYhL6yGgEKtgo9vif33nDmMRu6+Pch/Lt09cbklwN2uKHdNMVng6mHMLuSpqjB/jHaJcS6hAZ1Gr',
  'CpPlh9pZBXSAniwtNcAXHv++PBvyKsVt5X/bjpMwxuPLo1g42C65Tt8hp1b7ZKP1vhNeX0/v4D3LbvO+aWvieIVPlOnVqFd1bT8fD+1cK5MAxu',
  'Du28Q6YhP5fl6bH6KJIkd19aQueDPk36o51ZH6MktuVKowktfdDXCHj38SrZ+Pd6vPNp3iMRHoYAJun0nDxvte4gmnP2tx4XaakiFmFeFDDrpi',
  'hxTJmD/0HYGTCz8O/naoVB35Im3flWCHNLt+RInoRfB9RXbvEsVjuKH3MqiAPy6boCdum5DE7yCwvU31updFqADRtGzMId58zVJwvDkH/S808U',
  '2WhNCsMuH6pUel0ExyJDZPsLa/jZhZaVu9DiChuYGMr51uuFaS5twsbaq/VY/f12uFxe/xoiCUVoAr1X/TTZ4JMGQOidPg4oKTWF+kA1HEVV0L',
  'FnqCE7zLfpOpJoVtflQJF+iUAjeoml1TJHt/Yt6tRIBfPrbIfhkazJxlhXuPi9BQYtXSl4RWJkrmPiuFq7gXCzbmF50cqolg+1IYrDDrbY7T1C',
  'z0j0uIE/oKQDRqbE8Zs0tKntEPycGuPjMS2AlWdowBPB9cBbCw1ISKPufUn0Vmo3GY/+XDi2aumGr3l8RoPWhNIWsWxQBsgFzqoKbjACWwoSIi',
  'dKRswCrD0Dr5ywYvG21c5Selpv6YnTNxOXwWa6sEixrthNEzpq0uuqKJBGdOzKgaJjHRfjLAXd7TiE06NcfxGDqm1KWW4VszaCNaQpcUmc3ler',
  '8cg1qmPjhTortxDlZzU8uAhmTYgI1r8zh1HH6gG9b9/5fiQFtCqDV6atjOV1BwB9H6S2LwKAQbdz3Xy2GIsua8FcgoV2F4dtdTqDL4sZpjZGJL',
  'Pe7eyGesxXy3QjSjgOpna+TeXFOtJMeGRppU44E6dMOaN0S1mGdislDjRSY3mtf1g5vyLYJG6WIZb4qQPKORV4WPEpDWgmxUoqx/AB+QJMbNeG',
  'D2lzKmvfUNADzg/h+nPjC4ohbvwH6DhfdtfZ7aqChg7X9ySyy/6Dh1keazbiFRjaNvV7z0csfjnMHeommevg3ehUcylfWiZBciH8Z3GJB4ilfp',
  'j/HOfoYd/nelo6VJebaAOUouw6UnBXuL0Sgfk2M7yW9lhiktRQJPpUFB/nVDcpq2dWGK01LIcJrlNPRiEAJG936gbZH0yDzxRIGI8HK6vl0UlE',
  'LdwOxbkbAXWxdLR1Ft7lNmJ+pS8AIG6Udi0iIoSezpiSPFTQFRY+WiNTPSpVIrXhIDVmtHGXhHGLUXQWV9S2vCfr27GMmBfeh8CYqzRpMN5TDf',
  'Qa9f+t28428IAbgyFc4NMkWIu4R8B2Lqcb0ArhcHz9cYg9gDhT1PD7EelSpzUSGZ+DhhZJasF+zkGhyw2tgclfi01Ql1AlHO1fiNlusCN8qUIU',
  'b5uk4ILp0s4c6i/s7TJCxjpOwAW9IQ2+dzG9sGoRG2vTqik5vSu3kT+WANzEhIX46d/omiK78sqoRH58ZiPd72CkTKCUnszGPgR6qKuNQCY5ZY',
  'X5WOJhQe/NBHjX/9zUITFW5rlIMN6Lap0fD2uMQFq5HH2WFN2dmeU8EqXeFA/4dr3Lrq5daA5QTXAImj6Zzx96eGkAXcn1ExolZslyNcp9DS+O',
  'RPxGZ90djEUGji+1ziWVvULhyLx4CWkg9pghqd+J6ocGw0LWRYJ1VymdZWWdI32tJi+9MSJQNwOG2fysirmzXAEJeiNmnqt9Vhx5BuSS4NKXUZ',
  'rbsaAw01M3BDrxL1pGGRwN65xoH2FtiH4H04q3RQZp79pDAJSHVnwcJZNb0lJWw396PB07avoI+rSGktNBNsxaaC59A0ZVWWVwALTHb9FNSph/',
  'AAGwD4UlAAB7ks6/scRn+wIAAAAABFla',
].join('')

/** The streams of the probe that are compressed with xz. */
export function xzShapes(): Shape[] {
  const regular = { content: makeRegular(), compressed: Buffer.from(regularXz, 'base64') }
  const squares = { content: makeSquares(), compressed: Buffer.from(squaresXz, 'base64') }
  const padding = Buffer.alloc(4)
  return [
    { name: 'long matches', ...regular },
    { name: 'long matches, slow reader', ...regular, readPauseMs: 5 },
    { name: 'literals', ...squares },
    { name: 'literals byte by byte', ...squares, pieceSize: 1 },
    {
      name: 'streams and padding',
      content: Buffer.concat([squares.content, regular.content, squares.content]),
      compressed: Buffer.concat([squares.compressed, padding, regular.compressed, squares.compressed]),
    },
    ...damaged(squares.compressed, 12), // in the footer: its checksum or size
  ]
}

function makeRegular(): Buffer {
  return Buffer.from(Array.from({ length: 80_000 }, (_, i) => `${'windlass '.repeat(i % 7)}${i % 13}\n`).join(''))
}

function makeSquares(): Buffer {
  return Buffer.from(Array.from({ length: 1_000 }, (_, i) => (i * i).toString(36)).join(' '))
}
