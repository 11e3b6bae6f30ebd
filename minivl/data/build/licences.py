"""The licence texts that must travel with the pack, and which packages each one covers."""

OPENING = """\
Credits and licences of the data pack
=====================================

The pictures and texts in this folder were made by the people named below. What was changed:
drawings were turned into 64 x 64 pixel pictures and compressed; photographs were compressed; texts
were selected and rearranged. SOURCES.json lists each package with its version and checksum."""

CC_BY = """
Licensed under the Creative Commons Attribution 4.0 International licence:
https://creativecommons.org/licenses/by/4.0/ (full text: .../legalcode). No warranties are given.
The drawings were rasterised to 64 x 64 pixels; shapes and colours are the authors' own."""

APACHE = """
Licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0 (full
text: the file LICENSE of this repository). The drawings were rasterised to 64 x 64 pixels; the
vocabulary's text is unchanged."""

MIT = """
Copyright (c) Microsoft Corporation.
Copyright (c) LobeHub.
Copyright (c) 2017-2019 Miles Johnson

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE."""

UNICODE = """
The names, keywords and groups come from Unicode's Common Locale Data Repository.

UNICODE LICENSE V3

COPYRIGHT AND PERMISSION NOTICE

Copyright (c) 2004-2025 Unicode, Inc.

NOTICE TO USER: Carefully read the following legal agreement. BY
DOWNLOADING, INSTALLING, COPYING OR OTHERWISE USING DATA FILES, AND/OR
SOFTWARE, YOU UNEQUIVOCALLY ACCEPT, AND AGREE TO BE BOUND BY, ALL OF THE
TERMS AND CONDITIONS OF THIS AGREEMENT. IF YOU DO NOT AGREE, DO NOT
DOWNLOAD, INSTALL, COPY, DISTRIBUTE OR USE THE DATA FILES OR SOFTWARE.

Permission is hereby granted, free of charge, to any person obtaining a
copy of data files and any associated documentation (the "Data Files") or
software and any associated documentation (the "Software") to deal in the
Data Files or Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, and/or sell
copies of the Data Files or Software, and to permit persons to whom the
Data Files or Software are furnished to do so, provided that either (a)
this copyright and permission notice appear with all copies of the Data
Files or Software, or (b) this copyright and permission notice appear in
associated Documentation.

THE DATA FILES AND SOFTWARE ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY
KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT OF
THIRD PARTY RIGHTS.

IN NO EVENT SHALL THE COPYRIGHT HOLDER OR HOLDERS INCLUDED IN THIS NOTICE
BE LIABLE FOR ANY CLAIM, OR ANY SPECIAL INDIRECT OR CONSEQUENTIAL DAMAGES,
OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS,
WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THE DATA
FILES OR SOFTWARE.

Except as contained in this notice, the name of a copyright holder shall
not be used in advertising or otherwise to promote the sale, use or other
dealings in these Data Files or Software without prior written
authorization of the copyright holder.

SPDX-License-Identifier: Unicode-3.0"""

PUBLIC_DOMAIN = """
The photographs in photos/ are called public domain by the package's copyright file, which traces
them to Unsplash, NASA and USGS (photos.json says which). Nobody has to be named; the photographers
and agencies are thanked all the same. NASA and USGS endorse nothing in this repository."""

#: (title, keys of the sources it covers, terms)
SECTIONS = (
    ("Creative Commons", ("twemoji", "emojitwo", "fxemoji", "streamline"), CC_BY),
    ("Apache License", ("noto", "noto_v1", "bert_vocab"), APACHE),
    ("MIT License", ("fluent", "fluent_flat", "fluent_3d", "emojibase"), MIT),
    ("Unicode License", ("emojibase",), UNICODE),
    ("Public domain", ("landscapes",), PUBLIC_DOMAIN),
)
